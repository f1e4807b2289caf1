"""Embedders exported without a KV cache run paged, as transformers run them whole."""

import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from support import decoder_embedders
from support.decoder_embedders import CAUSAL, CLASSIFIER, prompts
from support.engine_helpers import F32, change_config, pool

from server.engine import EngineConfig, LLMEngine, NotCausalError, check_loadable
from server.engine.model.attention import NotExpressibleError
from server.engine.model.stateless.cache_states import add_cache_states
from server.errors import InvalidRequestError
from server.payloads import SamplingParams


@pytest.mark.parametrize("kind", CAUSAL)
def test_hidden_states_are_those_of_transformers(embedders: Path, kind: str) -> None:
    expected = np.load(embedders / kind / "expected.npy")
    config = EngineConfig(
        embedders / kind / "openvino",
        plugin_config=F32,
        num_kv_blocks=100,
        max_num_batched_tokens=64,
        enable_prefix_caching=True,
        has_head=False,
        target_inter_token_latency_ms=0,
    )
    engine = LLMEngine(config)
    # All at once in chunks, then each alone, of which a part is cached.
    together = pool(engine, prompts())
    alone = [pool(engine, [prompt])[0] for prompt in prompts()]
    assert min(output.num_cached_tokens for output in alone[3:16]) >= 30
    for outputs in (together, alone):
        found = np.stack([output.values for output in outputs])
        assert _cosines(found, expected).min() > 0.99999
    assert engine.kv.num_used_blocks == 0
    with pytest.raises(InvalidRequestError, match="without an output head"):
        engine.make_pooling_request([3], [4])
    with pytest.raises(InvalidRequestError, match="the model knows 0 to 319"):
        engine.make_pooling_request([320])
    engine.close()


def test_scores_of_a_classifier_are_those_of_transformers(embedders: Path) -> None:
    config = EngineConfig(
        embedders / CLASSIFIER / "openvino",
        plugin_config=F32,
        num_kv_blocks=100,
        max_num_batched_tokens=64,
        enable_prefix_caching=True,
    )
    engine = LLMEngine(config)
    expected = np.load(embedders / CLASSIFIER / "expected.npy")
    for _ in range(2):
        found = np.stack([output.values for output in pool(engine, prompts(), [0, 1])])
        assert np.allclose(found, expected, atol=1e-4)
    with pytest.raises(InvalidRequestError, match="has logits of 0 to 1"):
        engine.make_pooling_request([3], [2])
    with pytest.raises(InvalidRequestError, match="a classifier with 2 scores"):
        engine.make_request([3], SamplingParams())
    engine.close()


def test_a_classifier_that_takes_another_token_is_refused(embedders: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedders / CLASSIFIER / "openvino", tmp_path / "model"))
    graph = folder / "openvino_model.xml"
    # What counts as padding: with another token id, the first token is the last that is none.
    model = ov.Core().read_model(graph)
    compared = next(n for n in model.get_ordered_ops() if n.get_type_name() == "NotEqual")
    compared.input(1).replace_source_output(ops.constant(np.full((1, 1), 1, np.int64)).output(0))
    (folder / "openvino_model.bin").unlink()
    ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
    with pytest.raises(NotCausalError, match="does not choose the last token"):
        check_loadable(folder, "CPU", {})


def test_an_embedder_that_sees_later_tokens_is_refused(embedders: Path, bert_model: Path) -> None:
    with pytest.raises(NotCausalError, match=r"layers have a window|another mask"):
        check_loadable(embedders / "bidirectional" / "openvino", "CPU", {}, has_head=False)
    with pytest.raises(NotCausalError, match="it has the inputs token_type_ids"):
        check_loadable(bert_model / "openvino", "CPU", {}, has_head=False)


def test_a_window_that_config_json_does_not_have_is_found(embedders: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(embedders / "gemma2" / "openvino", tmp_path / "model"))
    check_loadable(folder, "CPU", {}, has_head=False)
    change_config(folder, sliding_window=decoder_embedders.WINDOW + 1)
    with pytest.raises(NotCausalError, match="its layer 0 has another mask than a causal one"):
        check_loadable(folder, "CPU", {}, has_head=False)


def _cosines(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return (found * expected).sum(axis=1) / norms


Edit = str


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ("mean", "mix positions by ReduceMean"),
        ("convolution", "mix positions by Convolution"),
        ("no mask", "an attention has no mask"),
        ("full mask", "its layer 0 has another mask"),
        ("mask in values", "attention_mask for more than masks"),
        ("pooled", "no output of three dimensions"),
        ("counts from 1", "do not begin at 0"),
    ],
)
def test_what_is_not_causal_is_named(edit: Edit, reason: str) -> None:
    with pytest.raises(NotExpressibleError, match=reason):
        add_cache_states(_small_decoder(edit), {})


def test_the_same_without_an_edit_is_causal() -> None:
    assert len(add_cache_states(_small_decoder(""), {}).get_sinks()) == 2


def _small_decoder(edit: Edit) -> ov.Model:
    """One attention over embeddings of tokens and positions, with a mask made from positions."""
    ids, padding = (ops.parameter([-1, -1], ov.Type.i64) for _ in range(2))
    ids.output(0).get_tensor().set_names({"input_ids"})
    padding.output(0).get_tensor().set_names({"attention_mask"})
    zero, one = (ops.constant(np.int64(i)) for i in (0, 1))
    length = ops.gather(ops.shape_of(ids), one, zero)
    start = one if edit == "counts from 1" else zero
    places = ops.unsqueeze(ops.range(start, ops.add(length, start), one, "i64"), zero)
    table = ops.constant(np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32))
    hidden = ops.add(ops.gather(table, ids, zero), ops.gather(table, places, zero))
    if edit == "convolution":
        kernel = ops.constant(np.ones((8, 8, 3), np.float32))
        turned = ops.transpose(hidden, [0, 2, 1])
        hidden = ops.transpose(ops.convolution(turned, kernel, [1], [1], [1], [1]), [0, 2, 1])
    if edit == "mask in values":
        hidden = ops.multiply(hidden, ops.unsqueeze(ops.convert(padding, "f32"), ops.constant([2])))
    heads = ops.transpose(ops.reshape(hidden, [0, 0, 2, 4], True), [0, 2, 1, 3])
    later = ops.greater(ops.unsqueeze(places, one), ops.unsqueeze(places, ops.constant([2])))
    lowest = np.float32(0 if edit == "full mask" else -3e38)
    mask = ops.unsqueeze(ops.select(later, lowest, np.float32(0)), one)
    inputs = (heads, heads, heads) if edit == "no mask" else (heads, heads, heads, mask)
    seen = ops.scaled_dot_product_attention(*inputs)
    output = ops.reshape(ops.transpose(seen, [0, 2, 1, 3]), [0, 0, 8], True)
    if edit in ("mean", "pooled"):
        output = ops.reduce_mean(output, one, keep_dims=edit == "mean")
    return ov.Model([ops.result(output)], [ids, padding], "small")
