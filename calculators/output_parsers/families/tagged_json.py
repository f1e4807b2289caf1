"""Families that write JSON objects with name and arguments between tags of their own."""

from calculators.output_parsers.families.hermes3 import Hermes3ToolParser
from calculators.output_parsers.families.qwen3 import Qwen3ReasoningParser
from calculators.output_parsers.json_tool_parser import JsonToolParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.output_parser import CallFrame
from calculators.output_parsers.tagged_reasoning import TaggedReasoningParser

__all__ = [
    "Cohere",
    "Ernie45",
    "Granite",
    "Granite4",
    "HunyuanA13B",
    "InternLm",
    "Nemotron",
    "Xlam",
]


def _list_frame(begin: str, end: str) -> CallFrame:
    """A JSON list of calls between two tags."""
    return CallFrame(
        begin=f"{begin}[",
        before_name='{"name": "',
        before_arguments='", "arguments": ',
        after_arguments="}",
        between=", ",
        end=f"]{end}",
    )


class GraniteToolParser(JsonToolParser):
    """<|tool_call|> and a list; version 3.0 has <tool_call> instead."""

    begin = "<|tool_call|>"
    other_tags = (("<tool_call>", "</tool_call>"),)
    markers = (begin, *other_tags[0])
    frame = _list_frame(begin, "")


class GraniteReasoningParser(Qwen3ReasoningParser):
    """<think> and <response> tags; version 3.2 writes sentences."""

    other_tags = (
        ("Here is my thought process:", "Here is my response:"),
        ("Here's my thought process:", "Here's my response:"),
    )
    answer_tags = (("<response>", "</response>"),)
    markers = (*Qwen3ReasoningParser.markers, *answer_tags[0])


class Granite(ModelFamily):
    """Tool and reasoning parser of Granite 3: a JSON list behind <|tool_call|>, <think> tags."""

    tool_parser = GraniteToolParser
    reasoning_parser = GraniteReasoningParser
    template_marks = (("<|start_of_role|>", "<|tool_call|>"), ("<|start_of_role|>", "<response>"))
    reasoning_marks = ("<think>", "thought process")


class Granite4(ModelFamily):
    """Tool and reasoning parser of Granite 4: JSON in <tool_call> tags, <think> tags."""

    tool_parser = Hermes3ToolParser
    reasoning_parser = GraniteReasoningParser
    template_marks = (("<|start_of_role|>", "<tool_call>"),)
    reasoning_marks = ("<think>",)


class NemotronToolParser(JsonToolParser):
    """A list in tags."""

    begin = "<TOOLCALL>"
    closing = "</TOOLCALL>"
    markers = (begin, closing)
    frame = _list_frame(begin, closing)


class Nemotron(ModelFamily):
    """Tool and reasoning parser of Nemotron and Nemotron Nano 2: <TOOLCALL>[...], <think> tags."""

    tool_parser = NemotronToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<TOOLCALL>",),)
    reasoning_marks = ("<think>", "</think>")
    aliases = ("nemotron_json", "nemotron_nano_v2", "llama_nemotron_json")


class CohereToolParser(JsonToolParser):
    """A list of actions, whose members have other names."""

    begin = "<|START_ACTION|>"
    closing = "<|END_ACTION|>"
    name_key = "tool_name"
    markers = (begin, closing)
    frame = CallFrame(
        begin=f"{begin}[\n",
        before_name='    {"tool_call_id": "0", "tool_name": "',
        before_arguments='", "parameters": ',
        after_arguments="}",
        between=",\n",
        end=f"\n]{closing}",
    )


class CohereReasoningParser(TaggedReasoningParser):
    """Thoughts and the answer are in tags."""

    begin = "<|START_THINKING|>"
    end = "<|END_THINKING|>"
    answer_tags = (("<|START_RESPONSE|>", "<|END_RESPONSE|>"), ("<|START_TEXT|>", "<|END_TEXT|>"))
    markers = (begin, end, *answer_tags[0], *answer_tags[1])


class Cohere(ModelFamily):
    """Tool and reasoning parser of Cohere's Command R7B and Command A: <|START_ACTION|>[...]."""

    tool_parser = CohereToolParser
    reasoning_parser = CohereReasoningParser
    template_marks = (("<|START_ACTION|>",),)
    aliases = ("cohere_command3", "cohere_command4", "command")


class InternLmToolParser(JsonToolParser):
    """An action with the plugin's tag."""

    begin = "<|action_start|>"
    opening = "<|plugin|>"
    closing = "<|action_end|>"
    markers = (begin, opening, closing)
    frame = CallFrame(
        before_name=f'{begin}{opening}\n{{"name": "',
        before_arguments='", "parameters": ',
        after_arguments=f"}}{closing}",
        between="\n",
    )


class InternLm(ModelFamily):
    """Tool and reasoning parser of InternLM: JSON in <|action_start|><|plugin|>, <think> tags."""

    tool_parser = InternLmToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<|action_start|>",), ("<|plugin|>",))
    reasoning_marks = ("<think>", "</think>")


class HunyuanToolParser(JsonToolParser):
    """A list in tags."""

    begin = "<tool_calls>"
    closing = "</tool_calls>"
    markers = (begin, closing)
    frame = _list_frame(begin, closing)


class HunyuanReasoningParser(Qwen3ReasoningParser):
    """The answer is in tags, too."""

    answer_tags = (("<answer>", "</answer>"),)
    markers = (*Qwen3ReasoningParser.markers, *answer_tags[0])


class HunyuanA13B(ModelFamily):
    """Tool and reasoning parser of Hunyuan A13B: <tool_calls>[...], <think> and <answer> tags."""

    tool_parser = HunyuanToolParser
    reasoning_parser = HunyuanReasoningParser
    template_marks = (("<tool_calls>",), ("<answer>", "<|extra_0|>"), ("<answer>", "<｜hy_User｜>"))
    reasoning_marks = ("<think>", "<answer>")
    aliases = ("jamba",)


class Ernie45ReasoningParser(Qwen3ReasoningParser):
    """The answer is in tags, too."""

    answer_tags = (("<response>", "</response>"),)
    markers = (*Qwen3ReasoningParser.markers, *answer_tags[0])


class Ernie45(ModelFamily):
    """Tool and reasoning parser of ERNIE 4.5: JSON in <tool_call> tags, <think> and <response>."""

    tool_parser = Hermes3ToolParser
    reasoning_parser = Ernie45ReasoningParser
    template_marks = (("<tool_call>", "<response>", "<|im_start|>"),)
    reasoning_marks = ("<think>", "<response>")


class XlamToolParser(JsonToolParser):
    """A list, bare or in one of several tags."""

    begin = "<tool_call>"
    closing = "</tool_call>"
    other_tags = (("[TOOL_CALLS]", ""), ("```json", "```"))
    can_be_bare = True
    markers = (begin, closing, "[TOOL_CALLS]")
    frame = _list_frame(begin, closing)


class Xlam(ModelFamily):
    """Tool parser of xLAM: a JSON list of calls, bare or in tags."""

    tool_parser = XlamToolParser
