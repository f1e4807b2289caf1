"""The Jinja environment that renders chat templates, which are other people's code.

It is the one of Hugging Face transformers (`transformers.utils.chat_template_utils`), since
templates are written for it; time and size of what a template makes are limited.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["RefusedByTemplateError", "Sandbox", "TemplateLimitError", "join_bounded", "time_limit"]

MAX_RENDERED_CHARACTERS = 16_000_000

_deadline: ContextVar[tuple[float, float]] = ContextVar("_deadline")
_now: ContextVar[datetime] = ContextVar("_now")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let templates render; together they take no longer, and all see the same time of day."""
    deadline = _deadline.set((time.monotonic() + seconds, seconds))
    now = _now.set(datetime.now())
    try:
        yield
    finally:
        _deadline.reset(deadline)
        _now.reset(now)


def join_bounded(pieces: Iterable[str]) -> str:
    """The text that a template makes; raises TemplateLimitError where it is too much or too late.

    Only inside `time_limit`.
    """
    collected: list[str] = []
    num_characters = 0
    for piece in pieces:
        num_characters += len(piece)
        if num_characters > MAX_RENDERED_CHARACTERS:
            raise TemplateLimitError(f"it makes more than {MAX_RENDERED_CHARACTERS} characters")
        _check_deadline()
        collected.append(piece)
    return "".join(collected)


def _check_deadline() -> None:
    deadline, seconds = _deadline.get()
    if time.monotonic() > deadline:
        raise TemplateLimitError(f"it takes more than {seconds:g} seconds")


class RefusedByTemplateError(jinja2.TemplateError):
    """The template called raise_exception."""


class TemplateLimitError(jinja2.TemplateError):
    """The template took too long or made too much text."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Lets a template read and compute, but not run for ever."""

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

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Make a call of the template, and check its time: every long loop calls something."""
        _check_deadline()
        return super().call(context, obj, *args, **kwargs)

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


def _strftime_now(format: str) -> str:
    return _now.get().strftime(format)
