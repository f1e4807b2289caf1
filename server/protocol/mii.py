"""POST /mii/{deployment}, DeepSpeed-MII's API: JSON -> GenerationRequests, TextChunks -> JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import TextChunk
from server.protocol.field_rules import FieldRules
from server.protocol.generation_call import Choice, GenerationCall, Renderer, Usage, renamed
from server.protocol.json_text import json_bytes, json_pieces
from server.protocol.openai.completions import parse_completion
from server.protocol.openai.field_schemas import Prompt
from server.protocol.validation import validate_fields

__all__ = ["MiiFields", "MiiResponse", "parse_mii"]

RULES = FieldRules({})

DEFAULT_MAX_TOKENS = 1024
DEFAULT_TOP_P = 0.9
# What errors of the completion call otherwise.
FIELD_NAMES: Mapping[str, str] = {"prompt": "prompts", "max_tokens": "max_new_tokens"}


class MiiResponse(BaseModel):
    """The answer to one prompt; lengths are tokens."""

    generated_text: str
    prompt_length: int
    generated_length: int
    finish_reason: str


class MiiFields(BaseModel):
    """MII's fields. `max_length` counts the tokens of the prompt, too; `max_new_tokens` does not.

    With `stream` each event is the list of what is new.
    """

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, json_schema_extra=RULES.describe
    )

    prompts: Prompt
    max_length: int | None = Field(None, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    min_new_tokens: int = Field(0, ge=0)
    stream: bool = False
    ignore_eos: bool = False
    return_full_text: bool = False
    do_sample: bool = True
    top_p: float | None = None
    top_k: int | None = None
    temperature: float | None = None
    stop: str | list[str] | None = None

    def completion_fields(self, model: str) -> dict[str, Any]:
        """The body of the completion that says the same."""
        sampling: dict[str, Any] = {"temperature": 0}
        if self.do_sample:
            top_p = DEFAULT_TOP_P if self.top_p is None else self.top_p
            sampling = {"temperature": self.temperature, "top_p": top_p, "top_k": self.top_k}
        return {
            "model": model,
            "prompt": self.prompts,
            "max_tokens": self.max_new_tokens,
            "min_tokens": self.min_new_tokens,
            "stream": self.stream,
            "ignore_eos": self.ignore_eos,
            "echo": self.return_full_text,
            "stop": self.stop,
            **sampling,
        }


def parse_mii(deployment: str, body: Mapping[str, Any]) -> GenerationCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(MiiFields, body, RULES)
    try:
        call = parse_completion(fields.completion_fields(deployment))
    except InvalidRequestError as error:
        raise renamed(error, FIELD_NAMES) from error
    prompts = tuple(
        replace(
            prompt,
            default_max_tokens=DEFAULT_MAX_TOKENS if fields.max_length is None else None,
            max_total_tokens=fields.max_length,
        )
        for prompt in call.prompts
    )
    return replace(
        call,
        prompts=prompts,
        renderer=_MiiRenderer(),
        unknown_fields=RULES.unknown_fields(fields),
        field_names=FIELD_NAMES,
    )


class _MiiRenderer(Renderer):
    """Writes lists of responses."""

    def chunk(self, chunk: TextChunk) -> bytes:
        return b"data: " + json_bytes([_response(chunk.reasoning + chunk.text, chunk)]) + b"\n\n"

    def end(self, usage: Usage) -> bytes:
        return b"data: [DONE]\n\n"

    def failure(self, error: Mapping[str, Any]) -> bytes:
        return b"data: " + json_bytes({"error": error}) + b"\n\n"

    def whole(self, choices: Sequence[Choice], usage: Usage) -> Iterator[bytes]:
        return json_pieces(
            [
                _response(choice.reasoning + choice.text, choice.last)
                for choice in choices
                if choice.last is not None
            ]
        )


def _response(text: str, last: TextChunk) -> dict[str, Any]:
    return {
        "generated_text": text,
        "prompt_length": last.num_prompt_tokens,
        "generated_length": last.num_completion_tokens,
        "finish_reason": last.finish_reason or "none",
    }
