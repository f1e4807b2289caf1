"""The tools themselves, on the real model; what leads to them is tested with the export."""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from support.warm_python.launcher import WARM_PYTHON

from export_models.quantization import full_quantization
from server.engine.model.device import LEAST_SPARSITY
from server.engine.model.model_loader import load_model
from server.host.child_processes import python_path

CONVERSATION = (
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
    "<|im_start|>assistant\nThe capital of France is Paris.<|im_end|>\n"
)


def run_tool(module: str, *arguments: object) -> str:
    """What it prints."""
    command = [WARM_PYTHON.executable, "-P", "-m", module, *map(str, arguments)]
    environment = {
        **os.environ,
        "CI": "true",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": python_path(),
    }
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def quantized(model_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, quantised by what it says itself."""
    folder = tmp_path_factory.mktemp("quantized") / "model"
    shutil.copytree(model_f32, folder)
    tokens = folder.with_name("tokens.json")
    run_tool("export_models.quantization.calibration_tokens", folder, tokens, "--num-samples", "8")
    prompts = json.loads(tokens.read_text())
    files = {item.name for item in folder.iterdir()}
    run_tool("server.engine.sample_answers", folder, tokens)
    answers = json.loads(tokens.read_text())
    assert len(answers) == 8
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer[: len(prompt)] == prompt
        assert len(answer) > len(prompt)
    printed = run_tool(f"{full_quantization.__name__}", folder, tokens, "--smooth-quant-alpha=0.5")
    assert f"calibrating on 8 samples, {sum(map(len, answers))} tokens" in printed
    assert {item.name for item in folder.iterdir()} == files | {"openvino_config.json"}
    return folder


def test_every_layer_multiplies_int8_by_int8(quantized: Path) -> None:
    """The matrix products; q, k and v of a layer, and gate and up, read the same activations."""
    nodes = load_model(quantized, "CPU", {}).layers.get_runtime_model().get_ordered_ops()
    inputs = Counter(
        node.input_value(0).get_element_type().get_type_name()
        for node in nodes
        if node.get_rt_info()["layerType"].astype(str) == "FullyConnected"
    )
    assert inputs.keys() <= {"i8", "u8"}
    assert inputs.total() % 7 == 0


def test_embedding_and_head_share_one_int8_matrix(quantized: Path, model_f32: Path) -> None:
    sizes = [(folder / "openvino_model.bin").stat().st_size for folder in (quantized, model_f32)]
    assert sizes[0] < 0.27 * sizes[1]
    model = ov.Core().read_model(quantized / "openvino_model.xml")
    vocab_size = model.output("logits").get_partial_shape()[-1].get_length()
    matrices = [
        node.get_element_type().get_type_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant"
        and node.get_output_shape(0)[0:1] == [vocab_size]
        and node.get_output_shape(0)[1] > 1
    ]
    assert matrices == ["i8"]


def test_the_model_says_nearly_the_same(quantized: Path, model_f32: Path) -> None:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model_f32)(CONVERSATION)["input_ids"]
    found, expected = (next_tokens(folder, ids) for folder in (quantized, model_f32))
    assert len(ids) > 20
    assert np.mean(found == expected) >= 0.9


def test_sparse_weights_that_are_read_compressed_give_the_same(
    quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparse_weights import zero_weights

    copy = Path(shutil.copytree(quantized, tmp_path / "model"))
    assert zero_weights(copy, 0.8) > 7
    ids = list(range(10, 40))
    rate = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
    logits = [infer(copy, ids, {rate: value}) for value in (LEAST_SPARSITY, 1.0)]
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-4, atol=1e-4)
    assert not np.allclose(logits[0], infer(quantized, ids, {}), atol=0.1)


def next_tokens(model: Path, ids: list[int]) -> np.ndarray:
    return np.asarray(infer(model, ids, {}).argmax(axis=-1))


def infer(model: Path, ids: list[int], properties: dict[str, float]) -> np.ndarray:
    """The logits of all tokens."""
    compiled = ov.Core().compile_model(
        model / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32", **properties}
    )
    names = {port.get_any_name() for port in compiled.inputs}
    inputs = full_quantization.model_inputs(np.array([ids], np.int64), names)
    return np.asarray(compiled(inputs)["logits"][0])
