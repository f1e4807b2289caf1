"""Devstral: [TOOL_CALLS]name[ARGS]{...}."""

from calculators.output_parsers.families.mistral import MistralReasoningParser, MistralToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.named_call_reader import ARGS
from calculators.output_parsers.output_parser import CallFrame

__all__ = ["Devstral", "DevstralToolParser"]


class DevstralToolParser(MistralToolParser):
    """Mistral's newer form, always with the marker before the arguments."""

    can_be_bare = False
    frame = CallFrame(
        before_name=MistralToolParser.begin, before_arguments=ARGS, after_arguments=""
    )


class Devstral(ModelFamily):
    """Tool and reasoning parser of Devstral and Ministral 3: [TOOL_CALLS]name[ARGS]{...}."""

    tool_parser = DevstralToolParser
    reasoning_parser = MistralReasoningParser
    reasoning_marks = ("[THINK]",)
    template_marks = (("[TOOL_CALLS]", "[ARGS]"),)
