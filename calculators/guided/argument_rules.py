"""Grammar rules of a tool's arguments, for families that do not write them as a JSON object."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from calculators.guided.expressions import literal
from calculators.guided.grammar import TOOLS, GrammarError
from calculators.guided.json_rule import MAX_CHARACTERS, json_rules
from calculators.output_parsers import ArgumentFrame, ParameterTypes

__all__ = ["argument_rules", "shared_rules"]

# Characters that would end a key early.
BAD_IN_KEYS = frozenset('"\\<>[]{}()=:,')
DEFINITIONS = ("$defs", "definitions")


def shared_rules(frame: ArgumentFrame) -> list[str]:
    """The rules that the arguments of all tools need."""
    value = _alternatives(_any_value(frame))
    rules = [
        "KEY: /[A-Za-z_][A-Za-z0-9_-]*/",
        f"any_argument: {literal(frame.before_key)} KEY {value}",
    ]
    if frame.after_string:
        rules.append(f"string_end[lazy]: TEXT {literal(frame.after_string)}")
    return rules


def argument_rules(name: str, function: Mapping[str, Any], frame: ArgumentFrame) -> list[str]:
    """The rules of one tool; the first, `name`, is its arguments.

    The arguments come in the order of the schema, and those that it does not require may be left
    out. Without properties they may be any. What a schema says about a string is not enforced,
    apart from its enum, where the family writes plain text.
    """
    types = ParameterTypes([{"function": function}], function["name"])
    schema = function.get("parameters") or {}
    required = schema.get("required")
    required = required if isinstance(required, list) else []
    keys = [*types.properties, *(key for key in required if key not in types.properties)]
    if not keys:
        return [f"{name}: {_any_arguments(schema, frame)}"]
    rules: list[str] = []
    num_characters = 0
    for place, key in enumerate(keys):
        if num_characters > MAX_CHARACTERS:
            problem = f"the parameters of {function['name']!r} have too many references"
            raise GrammarError(TOOLS, problem)
        value = _alternatives(_value(_Property(function, types, key), frame))
        rules.append(f"{name}_{place}: {literal(frame.before_key + _check_key(key))} {value}")
        num_characters += len(value)
        # What may come once an argument is written, and what before.
        for rule, separator in ((f"{name}_after", frame.between), (f"{name}_from", "")):
            argument = f"{literal(separator)} {name}_{place} {name}_after_{place + 1}"
            left_out = "" if key in required else f" | {rule}_{place + 1}"
            rules.append(f"{rule}_{place}: {argument}{left_out}")
    end = len(keys)
    rules += [f'{name}_after_{end}: ""', f'{name}_from_{end}: ""']
    return [f"{name}: {name}_from_0", *rules]


class _Property:
    """One parameter: its types, and its schema with the definitions that it may refer to."""

    def __init__(self, function: Mapping[str, Any], types: ParameterTypes, key: str) -> None:
        root = function.get("parameters") or {}
        found = types.properties.get(key)
        self.owner: str = function["name"]
        own = found if isinstance(found, Mapping) else {}
        names = DEFINITIONS if '"$ref"' in json.dumps(own) else ()
        definitions = {name: root[name] for name in names if name in root}
        self.schema: Mapping[str, Any] = {**definitions, **own}
        self.types = types.of(key)


def _any_arguments(schema: Mapping[str, Any], frame: ArgumentFrame) -> str:
    if schema.get("additionalProperties") is False:
        return '""'
    return f"(any_argument ({literal(frame.between)} any_argument)*)?"


def _any_value(frame: ArgumentFrame) -> Iterator[str]:
    if frame.after_string:
        yield f"{literal(frame.before_string)} string_end"
    else:
        (rule,) = json_rules([{}], TOOLS)
        yield f"{literal(frame.before_value)} {rule} {literal(frame.after_value)}"


def _value(parameter: _Property, frame: ArgumentFrame) -> Iterator[str]:
    values = parameter.schema.get("enum")
    if not frame.after_string:
        yield _json_value(parameter, parameter.schema, frame)
    elif isinstance(values, list) and values:
        texts = [value for value in values if isinstance(value, str)]
        others = [value for value in values if not isinstance(value, str)]
        yield from (literal(frame.before_string + text + frame.after_string) for text in texts)
        if others:
            yield _json_value(parameter, {"enum": others}, frame)
    else:
        if not parameter.types <= {"string"}:
            yield _json_value(parameter, parameter.schema, frame)
        if not parameter.types or "string" in parameter.types:
            yield f"{literal(frame.before_string)} string_end"


def _json_value(parameter: _Property, schema: Mapping[str, Any], frame: ArgumentFrame) -> str:
    (rule,) = json_rules([schema], TOOLS, owners=[parameter.owner])
    return f"{literal(frame.before_value)} {rule} {literal(frame.after_value)}"


def _alternatives(expressions: Iterator[str]) -> str:
    return f"({' | '.join(expressions)})"


def _check_key(key: str) -> str:
    if not key or not key.isprintable() or BAD_IN_KEYS & set(key):
        problem = f"an argument {key[:100]!r} cannot be told from the text around it"
        raise GrammarError(TOOLS, problem)
    return key
