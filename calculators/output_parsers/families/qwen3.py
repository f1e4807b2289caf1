"""Qwen 3, DeepSeek R1 and their like: <think>reasoning</think> before the answer."""

from typing import ClassVar

from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser

__all__ = ["Qwen3", "Qwen3ReasoningParser"]


class Qwen3ReasoningParser(TaggedReasoningParser):
    """The tags that most models have."""

    begin = "<think>"
    end = "</think>"
    markers: ClassVar[tuple[str, ...]] = (begin, end)


class Qwen3(ModelFamily):
    """Reasoning parser of Qwen 3, DeepSeek R1 and many others: <think> tags."""

    reasoning_parser = Qwen3ReasoningParser
    reasoning_marks = ("<think>", "</think>")
    is_generic = True
    aliases = ("nemotron_v3",)
