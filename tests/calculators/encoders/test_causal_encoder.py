"""Decoders as encoders: vectors of many callers, queues, cancelled calls, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.decoder_embedders import CAUSAL, prompts
from support.engine_helpers import F32

from calculators.encoders.causal_encoder import CausalEncoder, check_causal_encoder
from calculators.encoders.encoder_service import EncoderRow
from calculators.encoders.heads import DenseLayer, tail_head
from calculators.inference.inference_model import ModelSettings
from server.engine import NotCausalError
from server.errors import InvalidRequestError, QueueFullError
from server.graph import QueueLimits, RequestQueue

NORMALIZED = partial(tail_head, layers=(), normalize=True)
TEXTS = [EncoderRow(tuple(prompt)) for prompt in prompts()]
# Model Server's exporter writes the streams.
PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "2"}


@asynccontextmanager
async def encoder_of(
    folder: Path,
    *,
    num_tokens: int = 256,
    properties: Any = PROPERTIES,
    **fields: Any,
) -> AsyncIterator[CausalEncoder]:
    encoder = CausalEncoder(
        folder,
        ModelSettings("CPU", properties),
        num_tokens,
        max_length=512,
        **fields,
    )
    try:
        yield encoder
    finally:
        await asyncio.to_thread(encoder.close)


@pytest.mark.parametrize("kind", CAUSAL)
async def test_vectors_are_those_of_transformers(embedders: Path, kind: str) -> None:
    expected = np.load(embedders / kind / "expected.npy")
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    async with encoder_of(embedders / kind / "openvino", head=NORMALIZED) as encoder:
        alone = [(await encoder.run([text]))[0] for text in TEXTS]
        together = await encoder.run(TEXTS)
        calls = await asyncio.gather(*(encoder.run(TEXTS[i : i + 2]) for i in range(0, 32, 2)))
        status = encoder.status()
    for found in (alone, together, [vector for call in calls for vector in call]):
        assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
        assert (np.stack(found) * expected).sum(axis=1).min() > 0.9999
    assert status["num_rows"] == 96
    assert status["num_cached_tokens"] > status["num_tokens"] / 2
    assert status["num_waiting_tokens"] == 0


async def test_a_layer_after_the_pooling_is_applied(embedders: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    layer = DenseLayer(weights, np.ones(5, np.float32), "Tanh")
    head = partial(tail_head, layers=(layer,), normalize=False)
    expected = np.tanh(np.load(embedders / "llama" / "expected.npy") @ weights.T + 1)
    folder = embedders / "llama" / "openvino"
    async with encoder_of(folder, properties=F32, head=head) as encoder:
        assert np.allclose(await encoder.run(TEXTS), expected, atol=1e-3)


async def test_logits_of_tokens(model_f32: Path) -> None:
    async with encoder_of(model_f32, has_logits=True, token_ids=(7, 9)) as encoder:
        (logits,) = await encoder.run([EncoderRow((5, 6))])
    assert logits.shape == (2,)


async def test_what_waits_is_bounded_and_leaves_with_its_caller(embedders: Path) -> None:
    folder = embedders / "qwen3" / "openvino"
    async with encoder_of(folder, num_tokens=1) as encoder:
        queue = RequestQueue(QueueLimits(max_num_queued_tokens=300))
        first, second = queue.admit([0]), queue.admit([0])
        rows = [EncoderRow((3,) * 150)] * 2
        call = asyncio.create_task(encoder.run(rows, first))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="300 tokens wait"):
            await encoder.run([EncoderRow((3,))], second)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        first.close()
        second.close()
        assert (queue.num_requests, queue.num_tokens) == (0, 0)
        assert len(await encoder.run([EncoderRow((3,))])) == 1


async def test_a_row_that_the_model_cannot_take_ends_the_call(embedders: Path) -> None:
    async with encoder_of(embedders / "qwen3" / "openvino", head=NORMALIZED) as encoder:
        for row, message in (((), "no tokens"), ((320,), "knows 0 to 319"), ((3,) * 513, "513")):
            with pytest.raises(InvalidRequestError, match=message):
                await encoder.run([*TEXTS, EncoderRow(row)])
        assert await encoder.run([]) == []


def test_an_encoder_is_told_from_a_decoder(embedders: Path, bert_model: Path) -> None:
    settings = ModelSettings("CPU")
    check_causal_encoder(embedders / "qwen3" / "openvino", settings, has_head=False)
    with pytest.raises(NotCausalError):
        check_causal_encoder(bert_model / "openvino", settings, has_head=False)
