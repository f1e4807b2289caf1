"""Grammar rules of the tool calls that a request allows, as the model's family writes them."""

from collections.abc import Mapping
from typing import Any

from calculators.guided.argument_rules import argument_rules, shared_rules
from calculators.guided.expressions import literal
from calculators.guided.grammar import TOOLS, GrammarError
from calculators.guided.json_rule import json_rules
from calculators.output_parsers import ToolParser
from server.payloads import GenerationRequest

__all__ = ["ToolRules"]

# Characters that would end a name early, or open a marker; not every family quotes names.
BAD_IN_NAMES = frozenset('"\\<>[]{}')


class ToolRules:
    """The rules of one request; `lines` begin with one rule for each tool.

    The rule `calls` is one call, or several if the request allows that. `text_and_calls` is any
    text with calls in it: after the family's MARKER a call must follow, the rule `behind_marker`.
    """

    def __init__(self, request: GenerationRequest, parser: type[ToolParser]) -> None:
        frame = parser.frame
        assert frame is not None, "the family has a grammar"
        functions = [tool["function"] for tool in request.tools]
        self.names = tuple(_check_name(function["name"]) for function in functions)
        # Also where the arguments are no JSON object, to refuse what is too large.
        schemas = json_rules(
            [_parameters(function) for function in functions], TOOLS, owners=self.names
        )
        more_rules = []
        if frame.argument is not None:
            more_rules = shared_rules(frame.argument)
            for i, function in enumerate(functions):
                more_rules += argument_rules(f"arguments_{i}", function, frame.argument)
            schemas = [f"arguments_{i}" for i in range(len(functions))]
        one = " | ".join(f"call_{i}" for i in range(len(functions)))
        start = frame.begin + frame.before_name
        marker = next(marker for marker in parser.markers if start.startswith(marker))
        more, behind_calls = "", '""'
        if request.parallel_tool_calls:
            more = f"({literal(frame.between + frame.before_name)} call)*"
            behind_calls = "text_and_calls"
        rest = f"call {more} {literal(frame.end)}"
        self.lines = (
            *(
                f"call_{i}: {literal(name + frame.before_arguments)} {schema}"
                for i, (name, schema) in enumerate(zip(self.names, schemas, strict=True))
            ),
            f"call: ({one}) {literal(frame.after_arguments)}",
            f"calls: {literal(start)} {rest}",
            f"MARKER: {literal(marker)}",
            "text_and_marker[lazy]: TEXT MARKER",
            f"behind_marker: {literal(start.removeprefix(marker))} {rest} {behind_calls}",
            "text_and_calls: text_and_marker behind_marker | TEXT",
            *more_rules,
        )


def _check_name(name: str) -> str:
    if not name.isprintable() or BAD_IN_NAMES & set(name):
        problem = f"a call of {name[:100]!r} cannot be told from the text around it"
        raise GrammarError(TOOLS, problem)
    return name


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of the arguments, which are an object in every family."""
    return {"type": "object", **(function.get("parameters") or {})}
