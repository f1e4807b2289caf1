"""Encoder-decoder models: the encoder reads the prompt, the decoder writes the answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from support.engine_helpers import F32, change_config, generate, start
from support.recurrent_model import (
    FORCED,
    LONGEST,
    START,
    VOCAB_SIZE,
    expected_decoder_answer,
    save_encoder_decoder,
)

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.model.model_info import read_model_info
from server.engine.model.model_loader import load_model
from server.engine.model.stateful.encoder import decoder_prefix
from server.engine.model.stateful.state_form import StateForm
from server.engine.verification.verify import verify
from server.errors import ContextLengthError, InvalidRequestError, ModelLoadError
from server.payloads import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_encoder_decoder(tmp_path / "translator")


def make_engine(folder: Path, **fields: Any) -> LLMEngine:
    settings = {"num_kv_blocks": 8, "target_inter_token_latency_ms": 0, **fields}
    return LLMEngine(EngineConfig(folder, plugin_config=F32, **settings))


def prompts() -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, VOCAB_SIZE, length).tolist() for length in (3, 17, LONGEST)]


@pytest.mark.parametrize(
    "fields", [{}, {"max_num_batched_tokens": 16}, {"num_kv_blocks": 2}], ids=str
)
def test_answers(model: Path, fields: dict[str, Any]) -> None:
    engine = make_engine(model, **fields)
    assert engine.status["not_paged_because"] == "its prompts go to an encoder"
    assert generate(engine, prompts(), GREEDY) == [
        expected_decoder_answer(prompt, 12) for prompt in prompts()
    ]
    engine.close()


@pytest.mark.parametrize("fields", [{"n": 3}, {"num_beams": 3, "temperature": 0}])
def test_one_sequence_runs_at_once(model: Path, fields: dict[str, Any]) -> None:
    """The CPU plugin overruns memory where the infer requests of a decoder take turns."""
    engine = make_engine(model)
    with pytest.raises(InvalidRequestError, match="is 3; this model runs at most 1 sequence"):
        engine.make_request(prompts()[0], SamplingParams(max_tokens=2, **fields))
    start(engine, prompts(), GREEDY)
    while engine.has_work:
        engine.step()
        assert engine.scheduler.num_running <= 1
    engine.close()


def test_it_computes_in_f32(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if its states grew, like those of attention.
    monkeypatch.setattr(StateForm, "takes_single_tokens", False)
    loaded = load_model(model, "CPU", {})
    for part in (loaded.layers, loaded.head):
        assert part.get_property("INFERENCE_PRECISION_HINT") == ov.Type.f32


def test_a_repetition_penalty_leaves_the_prompt_alone(model: Path) -> None:
    engine = make_engine(model)
    params = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, repetition_penalty=2.0)
    expected = [expected_decoder_answer(prompt, 1) for prompt in prompts()]
    assert any(answer[0] in prompt for answer, prompt in zip(expected, prompts(), strict=True))
    assert generate(engine, prompts(), params) == expected
    engine.close()


def test_prompt_and_answer_have_limits_of_their_own(model: Path) -> None:
    engine = make_engine(model)
    longest = LONGEST - len((START, FORCED))
    request = engine.make_request([3] * LONGEST, SamplingParams(max_tokens=longest))
    assert request.max_tokens == longest
    assert engine.make_request([3], SamplingParams()).max_tokens == longest
    with pytest.raises(ContextLengthError, match=f"the model's encoder can read {LONGEST}"):
        engine.make_request([3] * (LONGEST + 1), GREEDY)
    with pytest.raises(ContextLengthError, match=f"the model's decoder can write {longest}"):
        engine.make_request([3], SamplingParams(max_tokens=longest + 1))
    with pytest.raises(InvalidRequestError, match="the prompt goes to this model's encoder"):
        engine.make_request([3], SamplingParams(prompt_logprobs=0))
    engine.close()


def test_it_can_be_verified(model: Path) -> None:
    assert verify(model, lambda _: None).has_passed


def test_answers_are_not_drawn_at_random_by_default(model: Path) -> None:
    assert read_model_info(model).sampling_defaults == {"temperature": 0.0}
    file = model / "generation_config.json"
    file.write_text(json.dumps({"do_sample": True, "temperature": 0.7, "bad_words_ids": [[5]]}))
    expected = {"temperature": 0.7, "bad_word_ids": ((5,),)}
    assert read_model_info(model).sampling_defaults == expected


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"decoder_start_token_id": 3}, {"decoder_start_token_id": 4}, (3,)),
        ({}, {"decoder_start_token_id": 4, "forced_bos_token_id": 5}, (4, 5)),
        ({"bos_token_id": 6}, {}, (6,)),
        ({"decoder_start_token_id": 3}, {"forced_bos_token_id": 5}, (3,)),
    ],
    ids=str,
)
def test_what_the_decoder_begins_with(
    generation: dict[str, Any], config: dict[str, Any], expected: tuple[int, ...]
) -> None:
    assert decoder_prefix(config, generation) == expected


def test_a_decoder_without_a_start(model: Path) -> None:
    change_config(model, decoder_start_token_id=None)
    with pytest.raises(ModelLoadError, match="decoder_start_token_id None"):
        load_model(model, "CPU", F32)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_missing_part(model: Path, part: str) -> None:
    (model / f"openvino_{part}_model.bin").unlink()
    with pytest.raises(ModelLoadError, match=f"openvino_{part}_model.bin not found; a model fol"):
        load_model(model, "CPU", F32)
