"""Files of sentence-transformers: poolings, dense layers, what cannot be computed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calculators.embeddings.embedding_setup import EmbeddingSetup
from calculators.embeddings.sentence_modules import SentenceModules
from calculators.encoders.heads import Pooling
from server.errors import InvalidRequestError, ModelLoadError
from server.payloads import EmbeddingRequest


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def write_safetensors(path: Path, **tensors: tuple[str, Any]) -> None:
    """Arrays by name, each with the name of its type."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, array) in tensors.items():
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        shape = list(array.shape)
        header[name.replace("_", ".")] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Pooling.CLS),
        ({"pooling_mode_lasttoken": True}, Pooling.LAST),
        ({"pooling_mode": "mean"}, Pooling.MEAN),
        ({"pooling_mode": ["lasttoken"]}, Pooling.LAST),
        ({}, None),
        ({"pooling_mode": ["mean", "max"]}, None),
    ],
)
def test_poolings(tmp_path: Path, config: Any, pooling: Pooling | None) -> None:
    write(tmp_path / "1_Pooling" / "config.json", config)
    assert SentenceModules.read(tmp_path).pooling is pooling


def test_a_pooling_that_is_not_here_needs_the_option(tmp_path: Path) -> None:
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": ["mean", "max"]})
    with pytest.raises(ModelLoadError, match="ask for the pooling mean and max; possible: cls"):
        EmbeddingSetup.read(tmp_path, None, normalize=True)
    setup = EmbeddingSetup.read(tmp_path, Pooling.CLS, normalize=True)
    assert setup.pooling is Pooling.CLS


def test_without_files_decoders_pool_the_last_token(tmp_path: Path) -> None:
    assert EmbeddingSetup.read(tmp_path, None, normalize=True).pooling is Pooling.CLS
    write(tmp_path / "config.json", {"architectures": ["Qwen3ForCausalLM"]})
    assert EmbeddingSetup.read(tmp_path, None, normalize=True).pooling is Pooling.LAST


def test_prompts_of_a_model_that_does_not_pool_them(tmp_path: Path) -> None:
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
    setup = EmbeddingSetup.read(tmp_path, None, normalize=True)
    assert setup.prompt_of(EmbeddingRequest(("a",))) == ""
    with pytest.raises(InvalidRequestError, match="prompts are not supported for this model"):
        setup.prompt_of(EmbeddingRequest(("a",), instruction="b"))


def test_the_default_prompt(tmp_path: Path) -> None:
    prompts = {"prompts": {"web": "Find: "}, "default_prompt_name": "web"}
    write(tmp_path / "config_sentence_transformers.json", prompts)
    setup = EmbeddingSetup.read(tmp_path, None, normalize=True, template="T {instruction}:")
    assert setup.prompt_of(EmbeddingRequest(("a",))) == "Find: "
    assert setup.prompt_of(EmbeddingRequest(("a",), instruction="b")) == "T b:"


def test_dense_layers(tmp_path: Path) -> None:
    path = tmp_path / "2_Dense"
    config = {"activation_function": "torch.nn.modules.activation.Tanh"}
    write(path / "config.json", config)
    write(tmp_path / "modules.json", [{"type": "x.Dense", "path": "2_Dense"}])
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_safetensors(
        path / "model.safetensors",
        linear_weight=("F16", weights.astype(np.float16)),
        linear_bias=("F32", np.ones(2, np.float32)),
    )
    (layer,) = SentenceModules.read(tmp_path).layers
    assert np.array_equal(layer.weights, weights)
    assert layer.bias is not None
    assert layer.bias.tolist() == [1, 1]
    assert layer.activation == "Tanh"
    for activation in ("my.Own", "torch.nn.modules.activation.Softmax"):
        write(path / "config.json", {"activation_function": activation})
        with pytest.raises(ModelLoadError, match=r"activation_function is .*; possible: torch.nn"):
            SentenceModules.read(tmp_path)


def test_modules_in_an_order_that_is_not_here(tmp_path: Path) -> None:
    path = tmp_path / "1_Dense"
    write(path / "config.json", {})
    write_safetensors(path / "model.safetensors", linear_weight=("F32", np.ones((1, 1), "f4")))
    modules = [{"type": "x.Dense", "path": "1_Dense"}, {"type": "x.Pooling", "path": "2_Pooling"}]
    write(tmp_path / "modules.json", modules)
    with pytest.raises(ModelLoadError, match="pools after a dense layer"):
        SentenceModules.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x02\0\0\0\0\0\0\0{x"])
def test_weights_that_are_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "2_Dense"
    write(path / "config.json", {"activation_function": "torch.nn.modules.activation.Tanh"})
    (path / "model.safetensors").write_bytes(content)
    write(tmp_path / "modules.json", [{"type": "x.Dense", "path": "2_Dense"}])
    with pytest.raises(ModelLoadError, match="model.safetensors: is no safetensors file"):
        SentenceModules.read(tmp_path)
