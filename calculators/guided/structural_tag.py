"""Structural tags, xgrammar's description of texts with marked parts, as grammar rules.

https://xgrammar.mlc.ai/docs/tutorials/structural_tag.html, and vLLM's older form with `structures`
and `triggers`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calculators.guided.expressions import literal, nested_grammar, regex_literal
from calculators.guided.grammar import GrammarError
from calculators.guided.json_rule import json_rules

__all__ = ["structural_tag_rules"]

MAX_PARTS = 1000
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class _Expression:
    """A part as a grammar writes it."""

    text: str

    def expression(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class _Texts:
    """One of some texts."""

    texts: tuple[str, ...]

    def expression(self) -> str:
        texts = (literal(text) if text else '""' for text in self.texts)
        return f"({' | '.join(texts)})"


class _AnyText:
    """Any text up to the next part."""


_Part = _Expression | _Texts | _AnyText
_Format = Mapping[str, Any]


def structural_tag_rules(tag: Mapping[str, Any], field: str) -> list[str]:
    """Lines of a grammar whose rule `form` is the tag. Raises InvalidRequestError."""
    writer = _Writer(field)
    if "structures" in tag or "triggers" in tag:
        tag = {"format": _from_older_form(tag, writer)}
    body = writer.rule(writer.parts(tag.get("format"), "format", 0))
    return [f"form: {body}", *writer.lines]


def _from_older_form(tag: Mapping[str, Any], writer: "_Writer") -> dict[str, Any]:
    tags = []
    for i, structure in enumerate(writer.list_of(tag, "structures", "")):
        if not isinstance(structure, Mapping):
            raise writer.problem(f"structures[{i}]", "must be an object")
        content = {"type": "json_schema", "json_schema": structure.get("schema") or {}}
        tags.append({**structure, "content": content})
    return {"type": "triggered_tags", "triggers": tag.get("triggers"), "tags": tags}


class _Writer:
    """Writes the rules of one structural tag."""

    def __init__(self, field: str) -> None:
        self.lines: list[str] = []
        self._field = field
        self._num_parts = 0
        self._kinds: Mapping[str, Callable[[_Format, str, int], list[_Part]]] = {
            "any_text": self._any_text,
            "const_string": self._const_string,
            "grammar": self._grammar,
            "json_schema": self._json_schema,
            "optional": self._repeated,
            "or": self._or,
            "plus": self._repeated,
            "regex": self._regex,
            "sequence": self._sequence,
            "star": self._repeated,
            "tag": self._tag,
            "tags_with_separator": self._separated_tags,
            "triggered_tags": self._triggered_tags,
        }

    def problem(self, where: str, what: str) -> GrammarError:
        """The error of a part."""
        return GrammarError(self._field, f"{where.strip('.')} {what}")

    def list_of(self, found: Mapping[str, Any], name: str, where: str) -> list[Any]:
        """A list that is not empty."""
        value = found.get(name)
        if not (isinstance(value, list) and value):
            raise self.problem(f"{where}.{name}", "must be a list that is not empty")
        return value

    def rule(self, parts: Sequence[_Part]) -> str:
        """The name of a rule of parts, one after the other."""
        expressions: list[str] = []
        waiting = False
        for part in parts:
            if isinstance(part, _AnyText):
                waiting = True
            elif not waiting:
                expressions.append(part.expression())
            elif isinstance(part, _Texts) and all(part.texts):
                expressions.append(self._add(f"TEXT {part.expression()}", lazy=True))
                waiting = False
            else:
                raise self.problem("format", "has any_text before a part that is not a fixed text")
        if waiting:
            expressions.append("TEXT")
        return self._add(" ".join(expressions) or '""')

    def parts(self, found: object, where: str, depth: int) -> list[_Part]:
        """The parts of one format. Raises InvalidRequestError."""
        self._num_parts += 1
        if self._num_parts > MAX_PARTS or depth > MAX_DEPTH:
            raise self.problem(where, f"is too large; at most {MAX_PARTS} parts are possible")
        if not isinstance(found, Mapping):
            raise self.problem(where, "must be an object with a type")
        kind = found.get("type")
        write = self._kinds.get(kind) if isinstance(kind, str) else None
        if write is None:
            raise self.problem(f"{where}.type", f"{str(kind)[:50]!r} is not supported")
        return write(found, where, depth + 1)

    def _const_string(self, found: _Format, where: str, _: int) -> list[_Part]:
        return [_Texts((self._text(found, "value", where),))]

    def _regex(self, found: _Format, where: str, _: int) -> list[_Part]:
        pattern = self._text(found, "pattern", where)
        return [_Expression(regex_literal(pattern, self._field))]

    def _grammar(self, found: _Format, where: str, _: int) -> list[_Part]:
        grammar = self._text(found, "grammar", where)
        return [_Expression(nested_grammar(grammar, self._field))]

    def _any_text(self, _found: _Format, _where: str, _: int) -> list[_Part]:
        return [_AnyText()]

    def _sequence(self, found: _Format, where: str, depth: int) -> list[_Part]:
        return [part for inner in self._inner(found, where, depth) for part in inner]

    def _or(self, found: _Format, where: str, depth: int) -> list[_Part]:
        rules = map(self.rule, self._inner(found, where, depth))
        return [_Expression(f"({' | '.join(rules)})")]

    def _repeated(self, found: _Format, where: str, depth: int) -> list[_Part]:
        inner = self.rule(self.parts(found.get("content"), f"{where}.content", depth))
        mark = {"optional": "?", "star": "*", "plus": "+"}[found["type"]]
        return [_Expression(f"({inner}){mark}")]

    def _inner(self, found: _Format, where: str, depth: int) -> list[list[_Part]]:
        elements = self.list_of(found, "elements", where)
        return [
            self.parts(element, f"{where}.elements[{i}]", depth)
            for i, element in enumerate(elements)
        ]

    def _tag(self, found: object, where: str, depth: int) -> list[_Part]:
        if not isinstance(found, Mapping):
            raise self.problem(where, "must be a tag")
        begin = self._text(found, "begin", where)
        content = self.parts(found.get("content"), f"{where}.content", depth)
        end = found.get("end", "")
        ends = end if isinstance(end, list) else [end]
        if not (ends and all(isinstance(text, str) for text in ends)):
            raise self.problem(f"{where}.end", "must be a text or a list of texts")
        last: list[_Part] = [_Texts(tuple(ends))] if any(ends) else []
        return [_Texts((begin,)), *content, *last]

    def _triggered_tags(self, found: _Format, where: str, depth: int) -> list[_Part]:
        """Any text; where one of the triggers is written, one of the tags must follow."""
        triggers = self.list_of(found, "triggers", where)
        branches: dict[str, list[str]] = {}
        for i, tag in enumerate(self.list_of(found, "tags", where)):
            begin, *rest = self._tag(tag, f"{where}.tags[{i}]", depth)
            assert isinstance(begin, _Texts)
            name = begin.texts[0]
            trigger = next((t for t in triggers if isinstance(t, str) and name.startswith(t)), None)
            if not trigger:
                raise self.problem(f"{where}.tags[{i}].begin", "starts with none of the triggers")
            behind = self.rule([_Texts((name.removeprefix(trigger),)), *rest])
            branches.setdefault(trigger, []).append(behind)
        marked = [
            f"{self._add(f'TEXT {literal(trigger)}', lazy=True)} ({' | '.join(behind)})"
            for trigger, behind in branches.items()
        ]
        one = f"({' | '.join(marked)})"
        if found.get("stop_after_first"):
            return [_Expression(one if found.get("at_least_one") else f"({one} | TEXT)")]
        repeated = f"{one}+" if found.get("at_least_one") else f"{one}*"
        return [_Expression(f"{repeated} TEXT")]

    def _separated_tags(self, found: _Format, where: str, depth: int) -> list[_Part]:
        tags = [
            self.rule(self._tag(tag, f"{where}.tags[{i}]", depth))
            for i, tag in enumerate(self.list_of(found, "tags", where))
        ]
        one = f"({' | '.join(tags)})"
        separator = literal(self._text(found, "separator", where))
        every = one if found.get("stop_after_first") else f"{one} ({separator} {one})*"
        return [_Expression(f"({every})" if found.get("at_least_one") else f"({every})?")]

    def _json_schema(self, found: _Format, where: str, _: int) -> list[_Part]:
        schema = found.get("json_schema")
        if found.get("style", "json") != "json" or not isinstance(schema, Mapping):
            raise self.problem(where, "must have a JSON schema, and json as its style")
        (rule,) = json_rules([schema], self._field)
        return [_Expression(rule)]

    def _text(self, found: Mapping[str, Any], name: str, where: str) -> str:
        value = found.get(name)
        if not isinstance(value, str):
            raise self.problem(f"{where}.{name}", "must be a text")
        return value

    def _add(self, body: str, *, lazy: bool = False) -> str:
        name = f"part_{len(self.lines)}"
        self.lines.append(f"{name}{'[lazy]' if lazy else ''}: {body}")
        return name
