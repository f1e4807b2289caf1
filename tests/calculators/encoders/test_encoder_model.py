"""One inference: padding changes nothing, and what cannot be computed is an error of its row."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as ops
from support.encoder_models import NUM_POSITIONS, encoder, write_encoder
from support.openvino_models import add_model, counter_model

from calculators.encoders.encoder_model import EncoderModel, check_encoder
from calculators.encoders.encoder_service import EncoderRow
from calculators.encoders.heads import DenseLayer, Pooling, logits_head, pooled_head
from calculators.inference.inference_model import ModelSettings
from server.errors import GenerationError, ModelLoadError

GROUP_SIZE = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
F32 = ModelSettings("CPU", {"INFERENCE_PRECISION_HINT": "f32"})
ROWS = [EncoderRow(tuple(range(1, n))) for n in (2, 4, 12, 20)]


def head_of(pooling: Pooling, *layers: DenseLayer, normalize: bool = False) -> Any:
    return lambda model: pooled_head(model, pooling, layers, normalize=normalize)


def open_encoder(folder: Path, head: Any, max_length: int = NUM_POSITIONS) -> EncoderModel:
    return EncoderModel(folder, F32, head, max_length=max_length)


def token_vectors(row: EncoderRow) -> Any:
    """What the model alone gives for a row that is not padded."""
    compiled = ov.Core().compile_model(encoder(), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ids = np.array([row.token_ids])
    types = np.zeros_like(ids) if row.token_type_ids is None else np.array([row.token_type_ids])
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
    return compiled(inputs)[0][0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        (Pooling.CLS, lambda vectors: vectors[0]),
        (Pooling.LAST, lambda vectors: vectors[-1]),
        (Pooling.MEAN, lambda vectors: vectors.mean(axis=0)),
    ],
)
def test_padding_changes_nothing(folder: Path, pooling: Pooling, reduce: Any) -> None:
    model = open_encoder(folder, head_of(pooling))
    for output, row in zip(model.infer(ROWS), ROWS, strict=True):
        np.testing.assert_allclose(output, reduce(token_vectors(row)), atol=1e-5)
    model.close()


def test_token_types_reach_the_model(folder: Path) -> None:
    model = open_encoder(folder, head_of(Pooling.CLS))
    row = EncoderRow((1, 2, 3), (0, 0, 1))
    (output,) = model.infer([row])
    np.testing.assert_allclose(output, token_vectors(row)[0], atol=1e-5)
    assert np.abs(np.asarray(model.infer([EncoderRow((1, 2, 3))])[0]) - output).max() > 0.01
    model.close()


def test_normalized_vectors_have_length_1(folder: Path) -> None:
    plain, unit = (open_encoder(folder, head_of(Pooling.MEAN, normalize=n)) for n in (False, True))
    for found, expected in zip(unit.infer(ROWS), plain.infer(ROWS), strict=True):
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_layers_come_after_the_pooling(folder: Path) -> None:
    rng = np.random.default_rng(1)
    weights, bias = rng.standard_normal((6, 4)), rng.standard_normal(6)
    layer = DenseLayer(weights.astype(np.float32), bias.astype(np.float32), "Tanh")
    model = open_encoder(folder, head_of(Pooling.CLS, layer))
    (output,) = model.infer(ROWS[1:2])
    expected = np.tanh(weights @ token_vectors(ROWS[1])[0] + bias)
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_a_model_that_pools_itself(tmp_path: Path) -> None:
    model = open_encoder(write_encoder(tmp_path, encoder(rank=2)), head_of(Pooling.LAST))
    np.testing.assert_allclose(model.infer(ROWS[:1])[0], token_vectors(ROWS[0])[0], atol=1e-5)


def test_logits_of_a_classifier(tmp_path: Path) -> None:
    model = open_encoder(write_encoder(tmp_path, encoder(rank=2)), logits_head)
    assert [np.shape(output) for output in model.infer(ROWS)] == [(4,)] * 4


def test_no_row_is_padded_past_the_positions(folder: Path) -> None:
    # 31 would be padded to 32; one more position than there is fails inside the model.
    model = open_encoder(folder, head_of(Pooling.LAST), max_length=31)
    (output,) = model.infer([EncoderRow((1,) * 31)])
    np.testing.assert_allclose(output, token_vectors(EncoderRow((1,) * 31))[-1], atol=1e-5)


def test_the_vocabulary_is_that_of_the_embedding_table(folder: Path) -> None:
    assert open_encoder(folder, head_of(Pooling.CLS)).vocab_size == 20


def test_a_row_that_fails_does_not_fail_the_others(folder: Path) -> None:
    model = open_encoder(folder, head_of(Pooling.CLS), max_length=64)
    bad, good = model.infer([EncoderRow((1,) * 40), EncoderRow((1, 2))])
    assert isinstance(bad, GenerationError)
    assert "could not compute this text of 40 tokens" in str(bad)
    assert np.shape(good) == (4,)
    assert model.health() is None, "other texts work"


def test_a_device_that_fails_for_every_text(folder: Path) -> None:
    model = open_encoder(folder, head_of(Pooling.CLS))
    model._names = ["input_ids", "input_ids", "token_type_ids"]
    model._types = [np.float64] * 3
    assert isinstance(model.infer([EncoderRow((1,))])[0], GenerationError)
    assert "inference fails for any text" in str(model.health())


def test_outputs_that_are_not_numbers(tmp_path: Path) -> None:
    ids, mask = (ops.parameter([-1, -1], ov.Type.i64) for _ in range(2))
    ids.output(0).set_names({"input_ids"})
    mask.output(0).set_names({"attention_mask"})
    table = np.ones((5, 4), np.float32)
    table[3] = np.nan
    vectors = ops.gather(ops.constant(table), ids, ops.constant(np.array(0, np.int64)))
    write_encoder(tmp_path, ov.Model([ops.result(vectors)], [ids, mask], "nan"))
    good, bad = open_encoder(tmp_path, head_of(Pooling.MEAN)).infer(
        [EncoderRow((1, 2)), EncoderRow((1, 3))]
    )
    assert np.allclose(np.asarray(good), 1)
    assert "is not a number" in str(bad)


def test_a_text_generator_is_no_encoder(tmp_path: Path) -> None:
    write_encoder(tmp_path, counter_model())
    with pytest.raises(ModelLoadError, match="generates text, with a KV cache inside"):
        check_encoder(tmp_path, "CPU", logits_head)


def test_a_model_with_other_inputs(tmp_path: Path) -> None:
    write_encoder(tmp_path, add_model())
    with pytest.raises(ModelLoadError, match="inputs x, y; a text encoder has input_ids"):
        check_encoder(tmp_path, "CPU", logits_head)


def test_a_model_without_the_output_of_its_task(folder: Path) -> None:
    with pytest.raises(ModelLoadError, match="a classifier has one of 2 dimensions"):
        open_encoder(folder, logits_head)
    with pytest.raises(ModelLoadError, match="no TPU here"):
        check_encoder(folder, "TPU", head_of(Pooling.CLS))


@pytest.mark.parametrize(("properties", "size"), [({}, 128), ({GROUP_SIZE: "32"}, 32)])
def test_the_group_size_of_the_cpu(folder: Path, properties: Any, size: int) -> None:
    settings = ModelSettings("CPU", properties)
    model = EncoderModel(folder, settings, head_of(Pooling.CLS), max_length=NUM_POSITIONS)
    assert model._compiled.get_property(GROUP_SIZE) == size
    model.close()
