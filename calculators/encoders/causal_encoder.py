"""Decoders as encoders: the LLM engine gives the model's output at the last token of a text."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from calculators.encoders.encoder_model import Head, with_cpu_properties
from calculators.encoders.encoder_service import EncoderRow, Vector
from calculators.encoders.tail import Tail
from calculators.inference.inference_model import ModelSettings
from server.engine import EngineConfig, ReplaceableEngine, check_loadable
from server.errors import InvalidRequestError, ModelLoadError
from server.graph import UNCOUNTED, Ticket
from server.host.model_files import has_encoder

__all__ = ["CausalEncoder", "check_causal_encoder"]

MIN_CACHED_TOKENS = 2**15
"""The smallest prefix cache; a model with longer texts gets one for its longest text."""

MAX_STEP_TOKENS = 512
"""Larger steps compute no more tokens per second, and a short text waits longer for its turn."""

ROWS_AT_ONCE = 64
"""After handing over so many rows, other tasks of the event loop have their turn."""

PRECISION, CACHE_PRECISION = "INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION"


class CausalEncoder:
    """An EncoderService for decoders: rows are prompts to which the engine adds no tokens.

    So they are read in chunks, together with those of other calls and without padding, and a
    beginning that rows have in common is computed once. A step has at most MAX_STEP_TOKENS, or
    `max_num_batched_tokens` if that is less.

    A result is the hidden state at the row's last token, f32[size]. With `has_logits` it is the
    logits at that token: those of `token_ids`, or of a classifier's labels if it is None. `head`
    then computes the final result, as it does for a model that pools itself.

    Raises ModelLoadError: a NotCausalError for a model without a KV cache that can have none.
    """

    def __init__(
        self,
        folder: Path,
        settings: ModelSettings,
        max_num_batched_tokens: int,
        *,
        max_length: int,
        head: Head | None = None,
        has_logits: bool = False,
        token_ids: Sequence[int] | None = None,
        served_name: str = "",
        on_progress: Callable[[str, float], None] | None = None,
    ) -> None:
        _check_is_decoder(folder)
        self._num_waiting_tokens = self._num_rows = self._num_tokens = self._num_cached_tokens = 0
        self._engine = ReplaceableEngine(
            EngineConfig(
                models_path=folder,
                device=settings.device,
                plugin_config=_properties(settings),
                max_num_batched_tokens=min(max_num_batched_tokens, MAX_STEP_TOKENS),
                max_cached_tokens=max(max_length, MIN_CACHED_TOKENS),
                enable_prefix_caching=True,
                target_inter_token_latency_ms=0,
                has_head=has_logits,
                served_name=served_name,
                on_progress=on_progress,
            )
        )
        self._token_ids = token_ids
        if has_logits and token_ids is None:
            self._token_ids = range(self._engine.current.num_logits)
        self._head = head
        self._tail: Tail | None = None

    async def run(
        self, rows: Sequence[EncoderRow], ticket: Ticket = UNCOUNTED, cache_salt: str = ""
    ) -> list[Vector]:
        """See EncoderService.run."""
        if any(row.of_tokens for row in rows):
            raise InvalidRequestError(
                "this model has no vectors of single tokens: it is a decoder, of which the engine "
                "keeps the output at the last token only"
            )
        num_tokens = sum(map(len, rows))
        salt = cache_salt.encode()
        ticket.add_tokens(num_tokens)
        self._num_waiting_tokens += num_tokens
        tasks: list[asyncio.Task[Vector]] = []
        try:
            for index, row in enumerate(rows):
                if index % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
                    await asyncio.sleep(0)
                tasks.append(asyncio.create_task(self._run(row, ticket, salt)))
            return list(await asyncio.gather(*tasks))
        finally:
            self._num_waiting_tokens -= num_tokens
            # If this was cancelled, or one of the rows has failed.
            for task in tasks:
                task.cancel()

    def status(self) -> Mapping[str, Any]:
        """The model, what waits and runs, and the sums since it was loaded."""
        return {
            **self._engine.current.status,
            "max_length": self._engine.current.max_num_tokens,
            "num_waiting_tokens": self._num_waiting_tokens,
            "num_rows": self._num_rows,
            "num_tokens": self._num_tokens,
            "num_cached_tokens": self._num_cached_tokens,
        }

    def health(self) -> str | None:
        """Why nothing can be run any more; None if it can."""
        return self._engine.failure

    def needs_reload(self) -> bool:
        """Never: an engine is replaced when it hangs."""
        return False

    def close(self) -> None:
        """Wait for the running step, and free the model."""
        self._engine.close()

    async def _run(self, row: EncoderRow, ticket: Ticket, cache_salt: bytes) -> Vector:
        output = await self._engine.current.pool(
            row.token_ids,
            self._token_ids,
            cache_salt=cache_salt,
            client=ticket.client,
            on_start=partial(ticket.start, 1, len(row)),
        )
        self._num_rows += 1
        self._num_tokens += len(row)
        self._num_cached_tokens += output.num_cached_tokens
        return output.values if self._head is None else self._complete(output.values, self._head)

    def _complete(self, values: Vector, head: Head) -> Vector:
        if self._tail is None:
            self._tail = Tail(head, len(values))
        return self._tail.apply([values])[0]


def check_causal_encoder(folder: Path, settings: ModelSettings, *, has_head: bool) -> None:
    """Do all of CausalEncoder that needs no compilation. Raises ModelLoadError as it does."""
    _check_is_decoder(folder)
    check_loadable(folder, settings.device, _properties(settings), has_head)


def _check_is_decoder(folder: Path) -> None:
    if has_encoder(folder):
        raise ModelLoadError(
            f"{folder}: its prompts go to an encoder; only a decoder alone gives hidden states and "
            "logits at the end of a text"
        )


def _properties(settings: ModelSettings) -> dict[str, Any]:
    """Drop NUM_STREAMS and its like: a step computes all rows at once, and needs all threads.

    Attention reads the whole text from the KV cache, so a cache of 8 bits would cost precision: it
    gets 16 bits, or 32 where f32 is asked for.
    """
    plugin_config = with_cpu_properties(settings).plugin_config
    streams = ("NUM_STREAMS", "PERFORMANCE_HINT", "PERFORMANCE_HINT_NUM_REQUESTS")
    kept = {name: value for name, value in plugin_config.items() if name not in streams}
    # The plugin makes bf16 of f16 where it computes in bf16.
    cache = "f32" if str(plugin_config.get(PRECISION)).lower() == "f32" else "f16"
    return {CACHE_PRECISION: cache, **kept}
