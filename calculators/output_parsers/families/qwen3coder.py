"""Qwen 3 Coder: <function=name><parameter=key>value</parameter></function> in <tool_call> tags."""

from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.tagged_value_parser import TaggedValueParser
from calculators.output_parsers.value_tags import ValueTags

__all__ = ["Qwen3Coder", "Qwen3CoderToolParser"]


class Qwen3CoderToolParser(TaggedValueParser):
    """Values have lines of their own."""

    tags = ValueTags(
        begin="<tool_call>",
        call_begin="<function=",
        name_end=">",
        key_begin="<parameter=",
        key_end=">",
        value_end="</parameter>",
        call_end="</function>",
        end="</tool_call>",
        has_lines=True,
    )
    frame = tags.frame(is_pair=True)
    markers = (tags.begin, tags.end)


class Qwen3Coder(ModelFamily):
    """Tool parser of Qwen 3 Coder: <function=name><parameter=key>value, in <tool_call> tags."""

    tool_parser = Qwen3CoderToolParser
    template_marks = (("<parameter=", "<function="),)
    aliases = ("qwen3_coder", "qwen3_xml")
