"""Batches of requests with different adapters and without, compared with transformers."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from support.adapters.answers import NAMES, PARAMS, Answers, Open, answer, expected
from support.adapters.peft_files import modules_of, write_adapter
from support.adapters.reference import KINDS, prompts
from support.cpu import needs_bf16
from support.engine_helpers import run_to_end, start, tokens_of
from support.recurrent_model import save_recurrent_model

from server.engine import AdapterSettings, AdapterSource, EngineConfig, LLMEngine
from server.engine.model.loading.graph_form import read_form
from server.errors import ModelLoadError, ModelNotFoundError
from server.payloads import SamplingParams


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_batches_answer_as_transformers_does(
    kind: str, open_adapted: Open, answers: Answers
) -> None:
    engine = open_adapted(kind, NAMES, enable_prefix_caching=True)
    for batch in (["", "a1", "", "a1"], ["a0", "", "a3", "a0"], ["", *NAMES, "", *NAMES[::-1]]):
        wanted = expected(answers, kind, batch)
        for (tokens, logprobs), (right_tokens, right) in zip(
            answer(engine, batch), wanted, strict=True
        ):
            assert tokens == right_tokens
            assert logprobs == pytest.approx(right, abs=2e-4)


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("kind", ["llama", "phi3"])
def test_compressed_weights_are_changed_as_much(
    kind: str, weights: str, open_adapted: Open, answers: Answers
) -> None:
    """The first tokens' log probabilities move towards the adapter's in f32."""
    engine = open_adapted(kind, NAMES, weights)
    params = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, logprobs=1)
    batch = NAMES
    right = [logprobs[0] for _, logprobs in expected(answers, kind, batch)]
    plain = [logprobs[0] for _, logprobs in expected(answers, kind, [""] * len(batch))]
    found = [logprobs[0] for _, logprobs in answer(engine, batch, params)]
    moved = np.abs(np.array(plain) - right).mean()
    assert np.abs(np.array(found) - right).mean() < moved / (4 if weights == "int8" else 1)


@needs_bf16
def test_bf16_is_close(open_adapted: Open, answers: Answers) -> None:
    precision = {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16"}
    engine = open_adapted("llama", NAMES, plugin_config=precision)
    assert engine.adapters is not None
    assert engine.adapters.element_type == ov.Type.bf16
    params = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True, logprobs=1)
    right = [logprobs[0] for _, logprobs in expected(answers, "llama", NAMES)]
    found = [logprobs[0] for _, logprobs in answer(engine, NAMES, params)]
    assert found == pytest.approx(right, abs=0.15)


def test_equal_prompts_share_no_blocks_across_adapters(open_adapted: Open) -> None:
    engine = open_adapted("llama", ("a0", "a1"), enable_prefix_caching=True)
    prompt = prompts()[4]
    for adapter, num_cached in (("a0", 0), ("a1", 0), ("", 0), ("a0", len(prompt) - 1)):
        (request,) = start(engine, [prompt], PARAMS, adapter=adapter)
        run_to_end(engine)
        assert request.num_cached_tokens >= num_cached // 32 * 32
        assert num_cached or request.num_cached_tokens == 0


def test_beams_and_choices_have_the_adapter_of_their_request(open_adapted: Open) -> None:
    engine = open_adapted("llama", ("a0",))
    alone = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
    several = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, n=2)
    beams = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True, num_beams=2)
    prompt = prompts()[0]
    requests = [*start(engine, [prompt], beams, adapter="a0"), *start(engine, [prompt], beams)]
    outputs = run_to_end(engine)
    assert tokens_of(outputs, requests[0]) != tokens_of(outputs, requests[1])
    requests = start(engine, [prompt], alone, adapter="a0")
    requests += start(engine, [prompt], several, adapter="a0")
    outputs = run_to_end(engine)
    single = tokens_of(outputs, requests[0])
    assert [tokens_of(outputs, requests[1], index) for index in (0, 1)] == [single, single]


def test_a_preempted_request_keeps_its_adapter(open_adapted: Open, answers: Answers) -> None:
    # Each prompt fills two blocks, and both answers need a third one.
    engine = open_adapted("llama", NAMES, num_kv_blocks=5)
    names = ("a3", "a1")
    requests = [start(engine, [prompts()[7]], PARAMS, adapter=name)[0] for name in names]
    outputs = run_to_end(engine)
    assert engine.stats.preemptions > 0
    for request, name in zip(requests, names, strict=True):
        assert tokens_of(outputs, request) == answers("llama", name)[7][0]


def test_a_model_without_adapters_has_an_unchanged_graph(adapted_models: Path) -> None:
    folder = adapted_models / "llama" / "f32"
    engine = LLMEngine(EngineConfig(folder, device="CPU", num_kv_blocks=4))
    compiled = {port.get_any_name() for port in engine.runner._layers.model_inputs}
    engine.close()
    original = read_form(folder, True, True).parts.layers
    assert compiled == {port.get_any_name() for port in original.inputs}
    assert not any("adapters" in name for name in compiled)
    with pytest.raises(ModelNotFoundError, match="this model takes none"):
        engine.make_request(prompts()[0], PARAMS, adapter="a0")


def names_of_branches(engine: LLMEngine) -> set[str]:
    assert engine.adapters is not None
    return {name.rpartition(".")[2] for name in engine.adapters.modules}


def test_only_layers_that_adapters_change_have_branches(
    open_adapted: Open, adapted_models: Path
) -> None:
    sources = (AdapterSource("a2", adapted_models / "llama" / "a2"),)
    closed = open_adapted("llama", (), adapters=AdapterSettings(sources))
    assert names_of_branches(closed) == {"q_proj"}
    chosen = AdapterSettings(sources, is_open=True, targets=("up_proj",))
    assert names_of_branches(open_adapted("llama", (), adapters=chosen)) == {"q_proj", "up_proj"}
    assert len(names_of_branches(open_adapted("llama", ()))) == 7


def test_an_adapter_of_another_model(open_adapted: Open, adapted_models: Path) -> None:
    other = adapted_models / "phi3" / "a0"
    sources = (AdapterSource("x", other),)
    with pytest.raises(ModelLoadError, match="is no matrix product of this model"):
        open_adapted("llama", (), adapters=AdapterSettings(sources))


def test_a_model_without_paged_attention(adapted_models: Path, tmp_path: Path) -> None:
    recurrent_model = save_recurrent_model(tmp_path / "recurrent")
    path = write_adapter(tmp_path / "a", modules_of(adapted_models / "llama" / "f32"), 0)
    settings = AdapterSettings((AdapterSource("a", path),))
    with pytest.raises(ModelLoadError, match="adapters need PagedAttention"):
        LLMEngine(EngineConfig(recurrent_model, device="CPU", adapters=settings))
    # One that is only open is loaded without.
    engine = LLMEngine(
        EngineConfig(recurrent_model, device="CPU", adapters=AdapterSettings(is_open=True))
    )
    assert engine.adapters is None
    engine.close()
