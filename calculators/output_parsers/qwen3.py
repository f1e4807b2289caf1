"""Qwen 3, DeepSeek R1 and their like: <think>reasoning</think> before the answer."""

from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser

__all__ = ["Qwen3ReasoningParser"]


class Qwen3ReasoningParser(TaggedReasoningParser):
    """The tags that most models have."""

    begin = "<think>"
    end = "</think>"
    markers = (begin, end)
