"""Text encoders made by hand, and stand-ins of them that count what they are asked."""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from calculators.encoders.encoder_service import EncoderRow, Vector

VOCAB_SIZE, SIZE, NUM_POSITIONS = 20, 4, 32


def encoder(*, rank: int = 3) -> ov.Model:
    """A token's vector depends on the token, its place, its type, and the mean of all tokens."""
    ids, mask, types = (
        ops.parameter([-1, -1], ov.Type.i64, name=name)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    for parameter in (ids, mask, types):
        parameter.output(0).set_names({parameter.get_friendly_name()})
    tables = np.random.default_rng(0).standard_normal((3, 32, SIZE)).astype(np.float32)
    words = ops.constant(tables[0, :VOCAB_SIZE])
    zero, one, two = (ops.constant(np.array(i, np.int64)) for i in range(3))
    vectors = ops.gather(words, ids, zero)
    # A row that is too long ends in a broadcast that fails.
    length = ops.unsqueeze(ops.gather(ops.shape_of(ids), one, zero), zero)
    places = ops.slice(
        ops.constant(tables[1]), *(ops.constant(np.array([i], np.int64)) for i in (0,)),
        length, ops.constant(np.array([1], np.int64)), ops.constant(np.array([0], np.int64)),
    )  # fmt: skip
    vectors = ops.add(ops.add(vectors, places), ops.gather(ops.constant(tables[2]), types, zero))
    weights = ops.unsqueeze(ops.convert(mask, "f32"), two)
    mean = ops.divide(
        ops.reduce_sum(ops.multiply(vectors, weights), one, keep_dims=True),
        ops.reduce_sum(weights, one, keep_dims=True),
    )
    hidden = ops.tanh(ops.add(vectors, mean))
    if rank == 2:
        hidden = ops.gather(hidden, zero, one)
    result = ops.result(hidden)
    result.output(0).set_names({"last_hidden_state"})
    return ov.Model([result], [ids, mask, types], "encoder")


def write_encoder(folder: Path, model: ov.Model | None = None) -> Path:
    """Write the model as an export does."""
    ov.save_model(model or encoder(), folder / "openvino_model.xml", compress_to_fp16=False)
    return folder


class CountingModel:
    """A BatchRunner whose output is [first token id, number of tokens]; it notes every batch.

    An inference waits until `release` is set, as it is at first. Token 13 makes an inference fail.
    """

    def __init__(self, *, num_streams: int = 1, delay_s: float = 0.0) -> None:
        self.num_streams = num_streams
        self.max_length = 512
        self.vocab_size: int | None = 1000
        self.gives_tokens = False
        self.batches: list[list[EncoderRow]] = []
        self.release = threading.Event()
        self.release.set()
        self._has_batch = threading.Event()
        self._delay_s = delay_s
        self.is_closed = False

    async def wait_for_batch(self) -> None:
        """Until an inference has begun."""
        assert await asyncio.to_thread(self._has_batch.wait, 20)

    def infer(self, rows: Sequence[EncoderRow]) -> Sequence[Vector | Exception]:
        self.batches.append(list(rows))
        self._has_batch.set()
        assert self.release.wait(20)
        time.sleep(self._delay_s)
        if any(13 in row.token_ids for row in rows):
            raise RuntimeError("token 13")
        return [np.array([row.token_ids[0], len(row)], np.float32) for row in rows]

    def status(self) -> Mapping[str, Any]:
        return {"device": "none"}

    def health(self) -> str | None:
        return None

    def close(self) -> None:
        self.is_closed = True
