"""The Jinja environment that renders chat templates, which are other people's code.

It is the one of Hugging Face transformers (`transformers.utils.chat_template_utils`), since
templates are written for it. Its bounds are those of the process that it runs in, see
render_worker.py; the few that are here only give a quicker answer.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = [
    "MAX_RENDERED_CHARACTERS",
    "NOW",
    "RefusedByTemplateError",
    "Sandbox",
    "TemplateLimitError",
    "TextTooLongError",
    "join_bounded",
]

MAX_RENDERED_CHARACTERS = 16_000_000
NOW = "strftime_now's time"
"""The variable with the time of day that a template sees."""


def join_bounded(pieces: Iterable[str]) -> str:
    """The text that a template makes; raises TextTooLongError where it is too much."""
    collected: list[str] = []
    num_characters = 0
    for piece in pieces:
        num_characters += len(piece)
        if num_characters > MAX_RENDERED_CHARACTERS:
            raise TextTooLongError(f"it makes more than {MAX_RENDERED_CHARACTERS} characters")
        collected.append(piece)
    return "".join(collected)


class RefusedByTemplateError(jinja2.TemplateError):
    """The template called raise_exception."""


class TemplateLimitError(jinja2.TemplateError):
    """The template computes something that is too big."""


class TextTooLongError(jinja2.TemplateError):
    """The template made too much text."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Lets a template read and compute, and nothing else."""

    intercepted_binops = frozenset(["*", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_GenerationTag, loopcontrols],
        )
        self.filters["tojson"] = _to_json
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute, but make no gigantic text, list or number."""
        if operator == "**":
            is_too_big = isinstance(right, int) and abs(right) > 1000
        else:
            size = max((len(x) for x in (left, right) if isinstance(x, (str, list))), default=0)
            count = next((x for x in (left, right) if isinstance(x, int)), 0)
            is_too_big = size * count > MAX_RENDERED_CHARACTERS
        if is_too_big:
            raise TemplateLimitError(f"the result of {operator} is too big")
        return super().call_binop(context, operator, left, right)


class _GenerationTag(Extension):
    """`{% generation %}` marks what an assistant wrote, for training; here its body is rendered."""

    tags = {"generation"}  # noqa: RUF012  # declared so by jinja2

    def parse(self, parser: Parser) -> nodes.Node:
        """Read up to `{% endgeneration %}`."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Serialise without the HTML escapes of Jinja's own filter."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_to_list,
    )


def _to_list(value: Any) -> list[Any]:
    """What Jinja's filters `map` and `select` make is no list."""
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _raise_exception(message: object) -> NoReturn:
    raise RefusedByTemplateError(str(message))


@jinja2.pass_context
def _strftime_now(context: Context, format: str) -> str:
    now: datetime = context[NOW]
    return now.strftime(format)
