"""Families that write the name, the keys and the values of a call in tags of their own."""

from dataclasses import replace

from calculators.output_parsers.families.qwen3 import Qwen3ReasoningParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import ArgumentFrame, CallFrame
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser
from calculators.output_parsers.tagged_value_parser import TaggedValueParser
from calculators.output_parsers.value_tags import ValueTags

__all__ = ["DeepSeekV4", "DeepSeekV32", "Glm45", "MiniCpm5", "MiniMaxM2", "SeedOss"]


class Glm45ToolParser(TaggedValueParser):
    """The name has no tag of its own; from version 4.7 on nothing has lines of its own."""

    tags = ValueTags(
        call_begin="<tool_call>",
        name_end="\n",
        key_begin="<arg_key>",
        key_end="</arg_key>",
        value_begin="<arg_value>",
        value_end="</arg_value>",
        call_end="</tool_call>",
    )
    frame = tags.frame()
    markers = (
        tags.call_begin,
        tags.key_begin,
        tags.key_end,
        tags.value_begin,
        tags.value_end,
        tags.call_end,
    )


class Glm45(ModelFamily):
    """Tool and reasoning parser of GLM 4.5 to 4.7: <arg_key> and <arg_value> tags, <think> tags."""

    tool_parser = Glm45ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<arg_key>", "<arg_value>"),)
    reasoning_marks = ("<think>", "</think>")
    aliases = ("glm47",)


class MiniMaxM2ToolParser(TaggedValueParser):
    """Name and keys are attributes."""

    tags = ValueTags(
        begin="<minimax:tool_call>",
        call_begin='<invoke name="',
        name_end='">',
        key_begin='<parameter name="',
        key_end='">',
        value_end="</parameter>",
        call_end="</invoke>",
        end="</minimax:tool_call>",
    )
    frame = tags.frame()
    markers = (tags.begin, tags.end)


class MiniMaxM2(ModelFamily):
    """Tool and reasoning parser of MiniMax M2: <invoke name="..."> in tags, <think> tags."""

    tool_parser = MiniMaxM2ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<minimax:tool_call>",),)
    reasoning_marks = ("<think>", "</think>")


class MiniCpm5ToolParser(TaggedValueParser):
    """Calls have no outer tag; texts of several lines are in CDATA sections."""

    tags = ValueTags(
        call_begin='<function name="',
        name_end='">',
        key_begin='<param name="',
        key_end='">',
        value_end="</param>",
        call_end="</function>",
        has_cdata=True,
    )
    frame = CallFrame(
        before_name=tags.call_begin,
        before_arguments=tags.name_end,
        after_arguments=tags.call_end,
        between="\n",
        argument=ArgumentFrame(
            before_key=tags.key_begin,
            before_value=tags.key_end,
            after_value=tags.value_end,
            before_string=tags.key_end,
            after_string=tags.value_end,
        ),
    )
    markers = (tags.call_begin,)


class MiniCpm5(ModelFamily):
    """Tool and reasoning parser of MiniCPM 5: <function name="..."><param name="...">, <think>."""

    tool_parser = MiniCpm5ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (('<param name="', '<function name="'),)
    reasoning_marks = ("<think>", "</think>")


class DeepSeekV32ToolParser(TaggedValueParser):
    """Name and keys are attributes; another one says which values are strings."""

    token = "｜DSML｜"
    tags = ValueTags(
        begin=f"<{token}function_calls>",
        call_begin=f'<{token}invoke name="',
        name_end='">',
        key_begin=f'<{token}parameter name="',
        key_end=">",
        string_mark='" string="true"',
        other_mark='" string="false"',
        value_end=f"</{token}parameter>",
        call_end=f"</{token}invoke>",
        end=f"</{token}function_calls>",
    )
    frame = tags.frame()
    markers = (token, tags.begin)


class DeepSeekV32(ModelFamily):
    """Tool and reasoning parser of DeepSeek V3.2: DSML tags, <think> tags."""

    tool_parser = DeepSeekV32ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("｜DSML｜", "function_calls>"),)
    reasoning_marks = ("<think>", "</think>")


class DeepSeekV4ToolParser(DeepSeekV32ToolParser):
    """The same with another outer tag."""

    tags = replace(
        DeepSeekV32ToolParser.tags,
        begin=f"<{DeepSeekV32ToolParser.token}tool_calls>",
        end=f"</{DeepSeekV32ToolParser.token}tool_calls>",
    )
    frame = tags.frame()
    markers = (DeepSeekV32ToolParser.token, tags.begin)


class DeepSeekV4(ModelFamily):
    """Tool and reasoning parser of DeepSeek V4: DSML tags, <think> tags."""

    tool_parser = DeepSeekV4ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("｜DSML｜", "tool_calls>"),)
    reasoning_marks = ("<think>", "</think>")


class SeedOssToolParser(TaggedValueParser):
    """The tags of Qwen 3 Coder in a tag of its own, with values that have no lines."""

    tags = ValueTags(
        begin="<seed:tool_call>",
        call_begin="<function=",
        name_end=">",
        key_begin="<parameter=",
        key_end=">",
        value_end="</parameter>",
        call_end="</function>",
        end="</seed:tool_call>",
    )
    frame = tags.frame(is_pair=True)
    markers = (tags.begin, tags.end)


class SeedOssReasoningParser(TaggedReasoningParser):
    """Thoughts in tags of its own."""

    begin = "<seed:think>"
    end = "</seed:think>"
    markers = (begin, end)


class SeedOss(ModelFamily):
    """Tool and reasoning parser of Seed-OSS: <seed:tool_call> and <seed:think> tags."""

    tool_parser = SeedOssToolParser
    reasoning_parser = SeedOssReasoningParser
    template_marks = (("<seed:tool_call>", "<function=", "<parameter="),)
    reasoning_marks = ("<seed:think>",)
