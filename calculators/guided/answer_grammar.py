"""Which grammar the answer to a request must follow."""

from calculators.guided.expressions import literal
from calculators.guided.form_rules import form_rules
from calculators.guided.grammar import TOOLS, Grammar, GrammarError
from calculators.guided.tool_rules import ToolRules
from calculators.output_parsers import MessageFrame, OutputFormat, TaggedReasoningParser
from server.errors import InvalidRequestError
from server.payloads import GenerationRequest, TokenizedPrompt

__all__ = ["answer_grammar", "has_grammar"]

TEXT = "TEXT: /(?s:.*)/"
TEXT_AND_CALLS = "text_and_calls"


def has_grammar(request: GenerationRequest, *, guides_tools: bool) -> bool:
    """Whether an answer must follow a grammar; with `guides_tools` every tool call does."""
    return (
        request.answer_format is not None
        or request.is_tool_required
        or (bool(request.tools) and (guides_tools or not request.parallel_tool_calls))
    )


def answer_grammar(prompt: TokenizedPrompt, output_format: OutputFormat) -> Grammar:
    """The grammar of the answer to a request for which `has_grammar` is true.

    A model that reasons does so first. Then come the form that is asked for, tool calls, either of
    them, or any text with tool calls in it. Raises InvalidRequestError for what the model cannot
    do.
    """
    request = prompt.request
    tools = _tool_rules(request, output_format)
    lines = [*tools.lines] if tools is not None else []
    if request.is_tool_required:
        answer, field = "calls", TOOLS
    elif request.answer_format is None:
        answer, field = TEXT_AND_CALLS, TOOLS
    else:
        answer, field = "form" if tools is None else "(form | calls)", request.answer_format.field
        lines += form_rules(request.answer_format)
    lines += _start_rules(answer, prompt, output_format, field)
    return Grammar(
        "\n".join([*lines, TEXT]),
        field,
        () if tools is None else tools.names,
        output_format.markers(request),
        is_json=output_format.reasoning_parser is None and _is_json(request),
    )


def _is_json(request: GenerationRequest) -> bool:
    """Whether the answer is nothing but JSON, or tool calls in their frame."""
    found = request.answer_format
    return request.is_tool_required or (found is not None and found.kind == "json")


def _tool_rules(request: GenerationRequest, output_format: OutputFormat) -> ToolRules | None:
    if not request.tools:
        return None
    parser = output_format.tool_parser
    if parser is not None and parser.frame is not None:
        return ToolRules(request, parser)
    wanted = "tool_choice" if request.is_tool_required else "parallel_tool_calls"
    if request.is_tool_required or request.answer_format is None or not request.parallel_tool_calls:
        raise InvalidRequestError(
            f"{wanted}: the tool calls of this model cannot be constrained, since its tool parser "
            f"is {output_format.tool_parser_name}",
            wanted,
        )
    return None


def _message_rules(answer: str, messages: MessageFrame) -> list[str]:
    """The rules of an answer in messages; between tool calls any of them may come."""
    if answer == TEXT_AND_CALLS:
        return [f"start: {answer}"]
    rules = [
        f"reasoning_end[lazy]: TEXT {literal(messages.reasoning_end)}",
        f"reasoned: {literal(messages.reasoning_begin)} reasoning_end "
        f"{literal(messages.next_message)}",
    ]
    if "form" in answer:
        rules.append(f"message: {literal(messages.answer_begin)} form")
        answer = answer.replace("form", "message")
    return [*rules, f"start: reasoned? {answer}"]


def _start_rules(
    answer: str, prompt: TokenizedPrompt, output_format: OutputFormat, field: str
) -> list[str]:
    """The rules of the reasoning, which the prompt may have begun, and of the answer after it."""
    parser = output_format.reasoning_parser
    if parser is None:
        return [f"start: {answer}"]
    if parser.messages is not None:
        return _message_rules(answer, parser.messages)
    if not issubclass(parser, TaggedReasoningParser):
        raise GrammarError(
            field,
            "this model writes reasoning and answer in one form, so the answer cannot have another",
        )
    begin = literal(parser.begin)
    rules = [
        f"reasoning_end[lazy]: TEXT {literal(parser.end)}",
        f'reasoned: reasoning_end ("\\n" | "\\n\\n")? {answer}',
    ]
    if parser.is_begun(prompt.text or ""):
        return [*rules, "start: reasoned"]
    if answer != TEXT_AND_CALLS:
        return [*rules, f"start: {begin} reasoned | {answer}"]
    return [
        *rules,
        f"UNREASONED: TEXT & ~({begin} TEXT)",
        "unreasoned_and_marker[lazy]: UNREASONED MARKER",
        f"start: {begin} reasoned | unreasoned_and_marker behind_marker | UNREASONED",
    ]
