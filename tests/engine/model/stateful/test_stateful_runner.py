"""Models without a PagedAttention form answer as they would have in that form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.engine_helpers import (
    F32,
    change_config,
    generate,
    run_to_end,
    start,
    tokens_of,
)
from support.recurrent_model import (
    VOCAB_SIZE,
    expected_answer,
    expected_logits,
    save_recurrent_model,
)

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model.device import CpuDevice
from server.engine.model.stateful.stateful_runner import StatefulRunner
from server.errors import ModelLoadError
from server.host.memory import RESERVATIONS
from server.payloads import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


def make_engine(folder: Path, **fields: Any) -> LLMEngine:
    settings = {"num_kv_blocks": 8, "target_inter_token_latency_ms": 0, **fields}
    return LLMEngine(EngineConfig(folder, plugin_config=F32, **settings))


def prompts(vocab_size: int) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, vocab_size, length).tolist() for length in (3, 17, 70)]


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    return save_recurrent_model(tmp_path / "recurrent")


@pytest.fixture
def stateful(folder: Path) -> Path:
    """The usual test model, with a config.json because of which it is not paged."""
    change_config(folder, alibi=True)
    return folder


@pytest.mark.parametrize(
    "fields", [{}, {"max_num_batched_tokens": 16}, {"num_kv_blocks": 2}], ids=str
)
def test_recurrent_states_are_exact(recurrent: Path, fields: dict[str, Any]) -> None:
    reserved = RESERVATIONS.total_bytes
    engine = make_engine(recurrent, **fields)
    assert engine.status["paged"] is False
    assert "ScaledDotProductAttention" in engine.status["not_paged_because"]
    found = generate(engine, prompts(VOCAB_SIZE), GREEDY)
    assert found == [expected_answer(prompt, 12) for prompt in prompts(VOCAB_SIZE)]
    assert isinstance(engine.runner, StatefulRunner)
    assert engine.runner.num_states == 0
    engine.close()
    assert RESERVATIONS.total_bytes == reserved


def test_log_probabilities_of_a_prompt(recurrent: Path) -> None:
    engine = make_engine(recurrent, max_num_batched_tokens=16)
    params = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
    (prompt,) = prompts(VOCAB_SIZE)[2:]
    (request,) = start(engine, [prompt], params)
    run_to_end(engine)
    engine.close()
    rows = expected_logits(prompt)[:-1].astype(np.float64)
    expected = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    assert request.prompt_logprobs is not None
    found = [entry.logprob for entry in request.prompt_logprobs]
    np.testing.assert_allclose(found, expected[np.arange(len(rows)), prompt[1:]], atol=1e-4)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1, seed=3, n=3, max_tokens=10),
        SamplingParams(temperature=0, num_beams=4, n=2, max_tokens=10),
        SamplingParams(temperature=0, repetition_penalty=1.5, max_tokens=10),
    ],
    ids=["choices", "beams", "penalty"],
)
@pytest.mark.parametrize("num_kv_blocks", [8, 4])
def test_forks_answer_as_on_paged_attention(
    model_f32: Path, stateful: Path, params: SamplingParams, num_kv_blocks: int
) -> None:
    answers = []
    for folder, num_blocks in ((model_f32, 60), (stateful, num_kv_blocks)):
        engine = make_engine(folder, num_kv_blocks=num_blocks, max_num_batched_tokens=32)
        requests = start(engine, prompts(300), params)
        outputs = run_to_end(engine)
        engine.close()
        answers.append([[tokens_of(outputs, r, i) for i in range(params.n)] for r in requests])
    assert answers[0] == answers[1]


def test_a_stopped_request_frees_its_states(stateful: Path) -> None:
    engine = make_engine(stateful)
    first, second = start(engine, prompts(300)[:2], GREEDY)
    engine.step()
    assert isinstance(engine.runner, StatefulRunner)
    assert engine.runner.num_states == 2
    engine.abort(first.request_id)
    assert engine.runner.num_states == 1
    assert len(tokens_of(run_to_end(engine), second)) == 11
    engine.close()


def test_others_go_on_after_a_failed_step(stateful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(stateful, max_num_seqs=1)
    failing, waiting = start(engine, prompts(300)[:2], GREEDY)
    run = StatefulRunner.run

    def fail_once(runner: StatefulRunner, *arguments: Any) -> Any:
        monkeypatch.setattr(StatefulRunner, "run", run)
        run(runner, *arguments)
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(StatefulRunner, "run", fail_once)
    outputs = run_to_end(engine)
    assert [o.request_id for o in outputs if o.error is not None] == [failing.request_id]
    answer = tokens_of(outputs, waiting)
    assert answer == generate(engine, [prompts(300)[1]], GREEDY)[0]
    engine.close()


def test_states_have_room_in_memory(
    recurrent: Path, stateful: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CpuDevice, "free_bytes", lambda _: 4000)
    # Eight numbers, of which there are two copies in memory: 64 bytes for each sequence.
    engine = make_engine(recurrent, num_kv_blocks=0)
    assert engine.num_blocks == 2000 // 64
    engine.close()
    with pytest.raises(ModelLoadError, match="one sequence of one token takes"):
        make_engine(stateful, num_kv_blocks=0)
