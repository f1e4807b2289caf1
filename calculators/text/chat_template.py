"""Renders a conversation to the text of a prompt, with the model's own Jinja template.

The environment is the one that Hugging Face transformers renders chat templates with
(`transformers.utils.chat_template_utils`), since templates are written for it.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from server.errors import InvalidRequestError, ModelLoadError

__all__ = [
    "ChatTemplate",
    "find_template_texts",
    "load_chat_template",
    "read_special_tokens",
    "read_tokenizer_class",
]

TEMPLATE_FILE_NAME = "chat_template.jinja"
EXTRA_TEMPLATES_FOLDER_NAME = "additional_chat_templates"
CONFIG_FILE_NAMES = ("chat_template.json", "tokenizer_config.json")
SPECIAL_TOKEN_FILE_NAMES = ("special_tokens_map.json", "tokenizer_config.json")

MAX_RENDERED_CHARACTERS = 16_000_000
MAX_RENDER_TIME_S = 30.0

_RESERVED_NAMES = frozenset({"messages", "tools"})

_deadline: ContextVar[float] = ContextVar("_deadline")


class ChatTemplate:
    """The chat template of one model, compiled. Threads may share it.

    `sources` has the template named "default" and perhaps others; "tool_use" is taken for requests
    with tools. Raises ModelLoadError, with `origin` in its message, for a template with an error.
    """

    def __init__(
        self, sources: Mapping[str, str], special_tokens: Mapping[str, str], origin: str
    ) -> None:
        environment = _Sandbox()
        self._special_tokens = dict(special_tokens)
        self._templates: dict[str, jinja2.Template] = {}
        for name, source in sources.items():
            try:
                self._templates[name] = environment.from_string(source)
            except jinja2.TemplateSyntaxError as error:
                raise ModelLoadError(
                    f"{origin}: line {error.lineno} of the chat template {name!r}: {error.message}"
                ) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the prompt; raises InvalidRequestError for what the template refuses."""
        template = self._choose(bool(tools))
        variables: dict[str, Any] = {
            **self._special_tokens,
            "documents": None,
            "add_generation_prompt": True,
            **_check_kwargs(template_kwargs or {}),
            "messages": [_prepare_message(message) for message in messages],
            "tools": list(tools) or None,
        }
        token = _deadline.set(time.monotonic() + MAX_RENDER_TIME_S)
        try:
            return _join_bounded(template.generate(variables))
        except _RefusedByTemplateError as error:
            raise InvalidRequestError(f"the chat template refused: {error}", "messages") from error
        except _LimitError as error:
            raise InvalidRequestError(
                f"the chat template was stopped: {error}", "messages"
            ) from error
        # A template is code: what it makes of unexpected messages can raise anything.
        except Exception as error:
            raise InvalidRequestError(
                f"the chat template cannot render these messages: {type(error).__name__}: {error}",
                "messages",
            ) from error
        finally:
            _deadline.reset(token)

    def _choose(self, has_tools: bool) -> jinja2.Template:
        if has_tools and "tool_use" in self._templates:
            return self._templates["tool_use"]
        return self._templates["default"]


def load_chat_template(models_path: Path) -> ChatTemplate:
    """Read the template of a model folder; raises ModelLoadError when there is none to use.

    The first of these that exists is taken: chat_template.jinja (with
    additional_chat_templates/*.jinja), chat_template.json, tokenizer_config.json. In the JSON files
    "chat_template" is a text, or a list of {"name": ..., "template": ...}.
    """
    sources, origin = _find_sources(models_path)
    if "default" not in sources:
        found = f"; it has only {', '.join(sorted(sources))}" if sources else ""
        raise ModelLoadError(
            f"{origin}: the model has no chat template{found}. A template is the file "
            f'{TEMPLATE_FILE_NAME}, or "chat_template" in tokenizer_config.json, of the model'
        )
    return ChatTemplate(sources, read_special_tokens(models_path), str(origin))


def find_template_texts(models_path: Path) -> list[str]:
    """The templates of a model folder as they are written; none where it has none."""
    return list(_find_sources(models_path)[0].values())


def _find_sources(models_path: Path) -> tuple[dict[str, str], Path]:
    path = models_path / TEMPLATE_FILE_NAME
    if path.is_file():
        extra = sorted((models_path / EXTRA_TEMPLATES_FOLDER_NAME).glob("*.jinja"))
        return {"default": _read(path), **{file.stem: _read(file) for file in extra}}, path
    for name in CONFIG_FILE_NAMES:
        path = models_path / name
        template = _read_json_object(path).get("chat_template")
        if isinstance(template, str):
            return {"default": template}, path
        if isinstance(template, list):
            return dict(_named_template(entry, path) for entry in template), path
    return {}, models_path


def _named_template(entry: object, path: Path) -> tuple[str, str]:
    if isinstance(entry, dict):
        name, template = entry.get("name"), entry.get("template")
        if isinstance(name, str) and isinstance(template, str):
            return name, template
    raise ModelLoadError(
        f'{path}: "chat_template" lists {str(entry)[:100]}; each must be '
        '{"name": text, "template": text}'
    )


def read_special_tokens(models_path: Path) -> dict[str, str]:
    """Return bos_token, eos_token and the like; their values are texts or {"content": text}."""
    special_tokens = {}
    for name in SPECIAL_TOKEN_FILE_NAMES:
        for key, value in _read_json_object(models_path / name).items():
            content = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(content, str):
                special_tokens[key] = content
    return special_tokens


def read_tokenizer_class(models_path: Path) -> str | None:
    """Return the name of the tokenizer's class in transformers, if the folder says it."""
    name = _read_json_object(models_path / "tokenizer_config.json").get("tokenizer_class")
    return name if isinstance(name, str) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelLoadError(f"{path}: cannot be read: {error}") from error


def _read_json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(_read(path))
    except ValueError as error:
        raise ModelLoadError(f"{path}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path}: holds a {type(value).__name__}; it must be an object")
    return value


def _check_kwargs(template_kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in sorted(_RESERVED_NAMES & template_kwargs.keys()):
        raise InvalidRequestError(
            f"chat_template_kwargs has {name!r}, which is a field of the request itself",
            "chat_template_kwargs",
        )
    add_prompt = template_kwargs.get("add_generation_prompt", True)
    if not isinstance(add_prompt, bool):
        raise InvalidRequestError(
            f"chat_template_kwargs.add_generation_prompt is {add_prompt!r}; "
            "it must be true or false",
            "chat_template_kwargs",
        )
    return template_kwargs


def _prepare_message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Give templates the arguments of tool calls as objects, which most of them expect."""
    prepared = dict(message)
    if isinstance(prepared.get("tool_calls"), Sequence):
        prepared["tool_calls"] = [_prepare_tool_call(call) for call in prepared["tool_calls"]]
    return prepared


def _prepare_tool_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    if not isinstance(arguments, dict):
        return call
    return {**call, "function": {**function, "arguments": arguments}}


def _join_bounded(pieces: Any) -> str:
    collected: list[str] = []
    num_characters = 0
    for piece in pieces:
        num_characters += len(piece)
        if num_characters > MAX_RENDERED_CHARACTERS:
            raise _LimitError(f"it makes more than {MAX_RENDERED_CHARACTERS} characters")
        _check_deadline()
        collected.append(piece)
    return "".join(collected)


def _check_deadline() -> None:
    if time.monotonic() > _deadline.get():
        raise _LimitError(f"it takes more than {MAX_RENDER_TIME_S:g} seconds")


class _RefusedByTemplateError(jinja2.TemplateError):
    """The template called raise_exception."""


class _LimitError(jinja2.TemplateError):
    """The template took too long or made too much text."""


class _Sandbox(ImmutableSandboxedEnvironment):
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
            raise _LimitError(f"the result of {operator} is too big")
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
    )


def _raise_exception(message: object) -> NoReturn:
    raise _RefusedByTemplateError(str(message))


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)
