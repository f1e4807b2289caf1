"""Families that write the name of the tool between tags, and JSON behind it."""

import re

from calculators.output_parsers.families.qwen3 import Qwen3ReasoningParser
from calculators.output_parsers.model_family import ModelFamily
from calculators.output_parsers.named_tool_parser import CallForm, NamedToolParser
from calculators.output_parsers.output_parser import CallFrame

__all__ = ["DeepSeekV3", "DeepSeekV31", "FunctionaryV31", "FunctionaryV32", "KimiK2"]


class DeepSeekToolParser(NamedToolParser):
    """Reads both forms: function<｜tool▁sep｜>name and a block of code, and name<｜tool▁sep｜>."""

    begin = "<｜tool▁calls▁begin｜>"
    end = "<｜tool▁calls▁end｜>"
    call_begin = "<｜tool▁call▁begin｜>"
    call_end = "<｜tool▁call▁end｜>"
    separator = "<｜tool▁sep｜>"
    forms = (
        CallForm(
            call_begin,
            re.compile(
                rf"\s*(?:function{separator})?(?P<name>[^\s<{{`]+)\s*"
                rf"(?:{separator}\s*)?(?:```json\s*(?:```\s*)?)?"
            ),
            ("```", call_end),
        ),
    )
    markers = (begin, end, call_begin, call_end, separator)


class DeepSeekV3ToolParser(DeepSeekToolParser):
    """Writes the arguments as a block of code."""

    frame = CallFrame(
        begin=DeepSeekToolParser.begin,
        before_name=f"{DeepSeekToolParser.call_begin}function{DeepSeekToolParser.separator}",
        before_arguments="\n```json\n",
        after_arguments=f"\n```{DeepSeekToolParser.call_end}",
        between="\n",
        end=DeepSeekToolParser.end,
    )


class DeepSeekV31ToolParser(DeepSeekToolParser):
    """Writes the arguments right behind the separator."""

    frame = CallFrame(
        begin=DeepSeekToolParser.begin,
        before_name=DeepSeekToolParser.call_begin,
        before_arguments=DeepSeekToolParser.separator,
        after_arguments=DeepSeekToolParser.call_end,
        end=DeepSeekToolParser.end,
    )


class DeepSeekV3(ModelFamily):
    """Tool and reasoning parser of DeepSeek V3 and R1: JSON code blocks in tags, <think> tags."""

    tool_parser = DeepSeekV3ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<｜tool▁call▁begin｜>", "```json"),)
    reasoning_marks = ("<think>", "</think>")
    aliases = ("deepseek_r1",)


class DeepSeekV31(ModelFamily):
    """Tool and reasoning parser of DeepSeek V3.1: name<｜tool▁sep｜>{...} in tags, <think> tags."""

    tool_parser = DeepSeekV31ToolParser
    reasoning_parser = Qwen3ReasoningParser
    template_marks = (("<｜tool▁call▁begin｜>",),)
    reasoning_marks = ("<think>", "</think>")


class KimiK2ToolParser(NamedToolParser):
    """Reads functions.name:0; the number counts the calls of the chat."""

    begin = "<|tool_calls_section_begin|>"
    end = "<|tool_calls_section_end|>"
    call_begin = "<|tool_call_begin|>"
    call_end = "<|tool_call_end|>"
    separator = "<|tool_call_argument_begin|>"
    forms = (
        CallForm(
            call_begin,
            re.compile(
                r"\s*(?:functions\.)?(?P<name>[^\s<{]+?)(?::\d+)?\s*"
                rf"(?:{re.escape(separator)}\s*)?"
            ),
            (call_end,),
        ),
    )
    markers = (begin, end, call_begin, call_end, separator)
    frame = CallFrame(
        begin=begin,
        before_name=f"{call_begin}functions.",
        before_arguments=f":0{separator}",
        after_arguments=call_end,
        end=end,
    )


class KimiK2ReasoningParser(Qwen3ReasoningParser):
    """The model may call a tool without ending its reasoning."""

    ends_before = (KimiK2ToolParser.begin,)
    markers = (*Qwen3ReasoningParser.markers, *ends_before)


class KimiK2(ModelFamily):
    """Tool and reasoning parser of Kimi K2: functions.name:0 and JSON in tags, <think> tags."""

    tool_parser = KimiK2ToolParser
    reasoning_parser = KimiK2ReasoningParser
    template_marks = (("<|tool_call_argument_begin|>",),)
    reasoning_marks = ("<think>", "</think>")


class FunctionaryV32ToolParser(NamedToolParser):
    """Reads >>>name and a line break, and <function=name>; >>>all is for the user.

    The prompt of version 3.2 ends with >>>, so the answer begins with a name.
    """

    recipient = ">>>"
    everybody = "all\n"
    forms = (
        CallForm(recipient, re.compile(r"(?P<name>[\w.-]+)\n\s*")),
        CallForm("<function=", re.compile(r"(?P<name>[\w.-]+)>\s*"), ("</function>",)),
    )
    markers = (recipient, "<function=", "</function>")

    def _start(self) -> bool:
        names = (self.everybody, *(f"{name}\n" for name in self._tool_names))
        if any(text != self._text and text.startswith(self._text) for text in names):
            return False
        self._step = self._head if self._text.startswith(names) else self._outside
        return True

    def _head(self) -> bool:
        if self._form is self.forms[0]:
            if self._text != self.everybody and self.everybody.startswith(self._text):
                return False
            if self._text.startswith(self.everybody):
                self._text = self._text.removeprefix(self.everybody)
                self._raw = ""
                self._step = self._outside
                return True
        return super()._head()


class FunctionaryV31ToolParser(FunctionaryV32ToolParser):
    """Writes <function=name>{...}</function>."""

    frame = CallFrame(before_name="<function=", before_arguments=">", after_arguments="</function>")


class FunctionaryV31(ModelFamily):
    """Tool parser of functionary 3.1: <function=name>{...}</function>."""

    tool_parser = FunctionaryV31ToolParser
    template_marks = (("<function=", "</function>", "<|eom_id|>"),)


class FunctionaryV32(ModelFamily):
    """Tool parser of functionary 3.2: >>>name, a line break, {...}."""

    tool_parser = FunctionaryV32ToolParser
    template_marks = ((">>>all", ">>>${recipient}"),)
    aliases = ("functionary",)
