"""llama.cpp's own server, with a GGUF of the same random weights."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contender import BenchmarkError, Launch, Piece


class LlamaDialect:
    """llama.cpp's own completions: its OpenAI endpoint does not return token ids."""

    path = "/completion"

    def body(self, token_ids: Sequence[int], max_tokens: int, *, has_ids: bool) -> dict[str, Any]:
        """The JSON of a request."""
        return {
            "prompt": token_ids,
            "n_predict": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "return_tokens": has_ids,
            "cache_prompt": True,
        }

    def read(self, event: Mapping[str, Any]) -> Piece:
        """Understand one event."""
        if "error" in event:
            raise BenchmarkError(f"{self.path}: error event {event['error']}")
        if event["stop"]:
            return Piece(bool(event["content"]), (), event["tokens_predicted"])
        token_ids = event.get("tokens", ())
        return Piece(bool(event["content"] or token_ids), token_ids)


@dataclass(frozen=True)
class LlamaContender:
    """`llama-server` with all processors, flash attention and one KV cache for all slots."""

    binary: Path | None
    gguf_path: Path
    num_slots: int = 16
    context: int = 65_536
    flags: Sequence[str] = ()
    name: str = "llama.cpp"
    dialect = LlamaDialect()

    def find_missing(self) -> str | None:
        """The binary or the model."""
        if self.binary is None or not self.binary.is_file():
            return "give --llama_server; demos/benchmark/README.md says how to build it"
        if not self.gguf_path.is_file():
            return f"no {self.gguf_path}: python demos/benchmark/make_gguf.py"
        return None

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """The command line of `llama-server`."""
        threads = str(os.cpu_count() or 1)
        return Launch(
            [
                *(str(self.binary), "--model", str(self.gguf_path)),
                *("--host", "127.0.0.1", "--port", str(port), "--no-webui"),
                *("--threads", threads, "--threads-http", "4", "--flash-attn", "on"),
                *("--parallel", str(self.num_slots), "--kv-unified"),
                *("--ctx-size", str(self.context)),
                *self.flags,
            ]
        )

    def describe(self) -> dict[str, object]:
        """Its settings."""
        return asdict(self)
