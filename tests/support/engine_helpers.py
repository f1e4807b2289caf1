"""Helpers of the engine tests: fakes of its parts, and ways to run it to the end."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine.engine import LLMEngine
from server.engine.kv.kv_cache_manager import KVCacheManager
from server.engine.pooling import PooledOutput
from server.engine.requests.outputs import SequenceOutput
from server.engine.sampling.logits import Logits
from server.engine.sampling.vocab_tiles import VocabTiles
from server.engine.sequence import EngineRequest
from server.engine.sequence import Sequence as EngineSequence
from server.payloads import SamplingParams

F32 = {"KV_CACHE_PRECISION": "f32", "INFERENCE_PRECISION_HINT": "f32"}

_numbers = count()


@cache
def tiles(num: int, size: int) -> VocabTiles:
    """What reduces rows of this form."""
    return VocabTiles(num, size)


def logits_of(
    values: npt.NDArray[np.float32],
    tile: int = 64,
    scales: npt.NDArray[np.float32] | None = None,
) -> Logits:
    """Logits as a head gives them, for f32[rows, vocabulary]."""
    vocab_size = values.shape[1]
    num_tiles = -(-vocab_size // tile)
    ends = ((0, 0), (0, num_tiles * tile - vocab_size))
    padded = np.pad(values, ends, constant_values=-np.inf)
    return Logits(padded, vocab_size, tiles(num_tiles, tile), scales)


def values_of(logits: Logits, index: int) -> npt.NDArray[np.float32]:
    """A view of the logits of one row: changing it changes the logits."""
    values: npt.NDArray[np.float32] = logits._values[logits._rows[index], : logits.vocab_size]
    return values


def make_request(
    tokens: Iterable[int],
    max_tokens: int = 4,
    priority: int = 0,
    cache_salt: bytes = b"",
    client: str = "",
    **params: Any,
) -> EngineRequest:
    """A request that no engine has checked."""
    return EngineRequest(
        next(_numbers),
        np.array(list(tokens), np.int64),
        SamplingParams(**params),
        max_tokens,
        priority=priority,
        client=client,
        cache_salt=cache_salt,
    )


def make_sequence(tokens: Iterable[int], max_tokens: int = 4, **params: Any) -> EngineSequence:
    """The first sequence of a new request."""
    request = make_request(tokens, max_tokens, **params)
    return EngineSequence(request, arrival=request.request_id)


def check_blocks(kv: KVCacheManager, sequences: Iterable[EngineSequence]) -> None:
    """Check that every block is where its reference count says, and nowhere else."""
    uses = [0] * kv.pool.num_blocks
    for sequence in sequences:
        table = sequence.block_table.view().tolist()
        assert len(set(table)) == len(table), "a sequence has a block twice"
        for block in table:
            uses[block] += 1
    assert [kv.pool.ref_count(block) for block in range(kv.pool.num_blocks)] == uses
    num_used = sum(use > 0 for use in uses)
    assert kv.num_used_blocks == num_used
    assert kv.num_free_blocks + num_used == kv.pool.num_blocks


def start(
    engine: LLMEngine, prompts: Iterable[Sequence[int]], params: SamplingParams, **fields: Any
) -> list[EngineRequest]:
    """Queue a request for each prompt; `fields` are those of make_request."""
    requests = [engine.make_request(prompt, params, **fields) for prompt in prompts]
    for request in requests:
        engine.add(request)
    return requests


def run_to_end(engine: LLMEngine) -> list[SequenceOutput]:
    """All that the engine brings until it has nothing left to do."""
    outputs = []
    while engine.has_work and engine.failure is None:
        outputs += engine.step()
    return outputs


def tokens_of(
    outputs: Iterable[SequenceOutput], request: EngineRequest, index: int = 0
) -> list[int]:
    """The tokens of one choice; an error among them fails the test."""
    mine = [o for o in outputs if (o.request_id, o.index) == (request.request_id, index)]
    assert [o.error for o in mine if o.error is not None] == []
    return [token for o in mine for token in o.token_ids]


def generate(
    engine: LLMEngine, prompts: Iterable[Sequence[int]], params: SamplingParams
) -> list[list[int]]:
    """The first choice for each prompt, all run together."""
    requests = start(engine, prompts, params)
    outputs = run_to_end(engine)
    return [tokens_of(outputs, request) for request in requests]


def change_config(folder: Path, **keys: Any) -> None:
    """Set keys in the config.json of a model."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def pool(
    engine: LLMEngine,
    prompts: Iterable[Sequence[int]],
    token_ids: Iterable[int] | None = None,
    **fields: Any,
) -> list[PooledOutput]:
    """What the engine gives for the end of each prompt, all run together."""
    requests = [engine.make_pooling_request(prompt, token_ids, **fields) for prompt in prompts]
    for request in requests:
        engine.add(request)
    outputs = {output.request_id: output for output in run_to_end(engine)}
    assert [o.error for o in outputs.values() if o.error is not None] == []
    pooled = [outputs[request.request_id].pooled for request in requests]
    return [one for one in pooled if one is not None]
