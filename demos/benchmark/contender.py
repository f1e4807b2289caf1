"""The interface of an engine that takes part: how to start it, and how to ask it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

MODEL_NAME = "benchmark"


class BenchmarkError(Exception):
    """A round could not be measured; the message says which contender and why."""


@dataclass(frozen=True)
class Piece:
    """What one event of a stream says. `num_tokens` is of the whole answer, near its end."""

    has_output: bool
    token_ids: Sequence[int] = ()
    num_tokens: int | None = None


class Dialect(Protocol):
    """The form of a request for exactly `max_tokens` greedy tokens, and of an answer's events."""

    path: str

    def body(self, token_ids: Sequence[int], max_tokens: int, *, has_ids: bool) -> dict[str, Any]:
        """The JSON of a request. `has_ids` asks for the ids of the answer's tokens."""

    def read(self, event: Mapping[str, Any]) -> Piece:
        """Understand one event. Raises BenchmarkError if it says that the request failed."""


@dataclass(frozen=True)
class OpenAIDialect:
    """Text completions with vLLM's extensions `ignore_eos` and `return_token_ids`."""

    path: str

    def body(self, token_ids: Sequence[int], max_tokens: int, *, has_ids: bool) -> dict[str, Any]:
        """The JSON of a request."""
        body = {
            "model": MODEL_NAME,
            "prompt": token_ids,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return {**body, "return_token_ids": True} if has_ids else body

    def read(self, event: Mapping[str, Any]) -> Piece:
        """Understand one event."""
        if "error" in event:
            raise BenchmarkError(f"{self.path}: error event {event['error']}")
        usage = event.get("usage")
        num_tokens = usage["completion_tokens"] if usage else None
        for choice in event["choices"]:
            token_ids = choice.get("token_ids") or ()
            # Tokens without text, such as special ones, are counted at the end at the latest.
            has_output = bool(choice["text"] or token_ids or choice.get("finish_reason"))
            return Piece(has_output, token_ids, num_tokens)
        return Piece(has_output=False, num_tokens=num_tokens)


@dataclass(frozen=True)
class Launch:
    """The process of a contender."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Contender(Protocol):
    """An engine behind HTTP on a port of the loopback interface; one file for each."""

    name: str
    dialect: Dialect

    def find_missing(self) -> str | None:
        """What has to be installed first and how; None if nothing is missing."""

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """The command that starts it; `folder` is empty and exists as long as the process runs."""

    def describe(self) -> dict[str, object]:
        """Its settings, for the file of results."""
