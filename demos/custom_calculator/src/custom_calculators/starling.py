"""A family of models: how a model called Starling would write tool calls and reasoning."""

from calculators.output_parsers import (
    CallFrame,
    JsonToolParser,
    ModelFamily,
    TaggedReasoningParser,
)

__all__ = ["Starling"]


class StarlingToolParser(JsonToolParser):
    """<call>{"name": ..., "arguments": {...}}</call>, one pair of tags for each call."""

    begin = "<call>"
    closing = "</call>"
    markers = (begin, closing)
    # Says how to write a call, so that tool_choice and guided generation can enforce it.
    frame = CallFrame(
        before_name='<call>{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}</call>",
    )


class StarlingReasoningParser(TaggedReasoningParser):
    """<plan>reasoning</plan> before the answer."""

    begin = "<plan>"
    end = "</plan>"
    markers = (begin, end)


class Starling(ModelFamily):
    """Tool and reasoning parser of Starling: JSON in <call> tags, and <plan> tags."""

    tool_parser = StarlingToolParser
    reasoning_parser = StarlingReasoningParser
    # Chat templates with this text choose the family where graph.pbtxt does not.
    template_marks = (("<call>",),)
