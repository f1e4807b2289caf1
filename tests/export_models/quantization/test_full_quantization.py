"""The tool itself, on the real model; what leads to it is tested with the export."""

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

CONVERSATION = (
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
    "<|im_start|>assistant\nThe capital of France is Paris.<|im_end|>\n"
)
SAMPLES = "8"


def run_tool(model: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [WARM_PYTHON.executable, "-P", full_quantization.__file__, str(model), *arguments]
    environment = {**os.environ, "CI": "true", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def quantized(model_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, quantised by what it says itself."""
    folder = tmp_path_factory.mktemp("quantized") / "model"
    shutil.copytree(model_f32, folder)
    result = run_tool(folder, "--num-samples", SAMPLES)
    assert result.returncode == 0, result.stderr
    assert f"calibrating on {SAMPLES} samples, " in result.stdout
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ratio", "1.0"), "error: unrecognized arguments: --ratio 1.0"),
        (("--num-samples", "0"), "error: argument --num-samples: must be a number from 1"),
        (("--smooth-quant-alpha", "1.5"), "must be above 0, at most 1, or -1 (off), found '1.5'"),
        (("--smooth-quant-alpha", "nan"), "must be above 0"),
    ],
)
def test_flags_that_mean_nothing_here(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run_tool(tmp_path, *arguments)
    assert result.returncode == 2
    assert message in result.stderr


class Tokenizer:
    """Takes words, and messages where it has a template."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem

    def apply_chat_template(self, messages: list[dict[str, str]], **_: object) -> str:
        if self.problem:
            raise ValueError(self.problem)
        return " ".join(f"{message['role']}: {message['content']}" for message in messages)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [0] * add_special_tokens + [len(word) for word in text.split()]}


def test_samples_of_the_user() -> None:
    chat = {"line": 1, "content": [{"role": "user", "content": "Good day"}]}
    assert full_quantization.encode(Tokenizer(), chat) == [5, 4, 3]
    assert full_quantization.encode(Tokenizer(), {"line": 2, "content": "a bc"}) == [0, 1, 2]
    long = {"line": 3, "content": "a " * 10_000}
    assert len(full_quantization.encode(Tokenizer(), long)) == full_quantization.MAX_SAMPLE_TOKENS


def test_a_template_that_refuses_a_sample() -> None:
    chat = {"line": 4, "content": [{"role": "cat", "content": "Meow"}]}
    with pytest.raises(SystemExit, match="calibration: line 4: ValueError: no role 'cat'"):
        full_quantization.encode(Tokenizer("no role\n 'cat'"), chat)


def test_seed_prompts_without_a_template() -> None:
    prompts, is_chat = full_quantization.render_seeds(Tokenizer("no template"))
    assert (tuple(prompts), is_chat) == (full_quantization.SEED_PROMPTS, False)


def test_seeds_are_questions_chats_and_calls_of_tools() -> None:
    prompts, is_chat = full_quantization.render_seeds(Tokenizer())
    assert is_chat
    assert prompts[0] == f"user: {full_quantization.SEED_PROMPTS[0]}"
    assert max(prompt.count("user: ") for prompt in prompts) == 5
    assert sum("tool: " in prompt for prompt in prompts) == 1
    # This template shows no tools: what differs by these alone is there once.
    assert len(set(prompts)) == len(prompts) == 16 + 4 + 4 + 1


def test_seeds_of_a_template_that_refuses_some(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer()
    render = tokenizer.apply_chat_template

    def render_without_tools(messages: list[dict[str, str]], tools: object, **_: object) -> str:
        if tools or len(messages) > 1:
            raise ValueError("one question, no tools")
        return render(messages)

    monkeypatch.setattr(tokenizer, "apply_chat_template", render_without_tools)
    prompts, is_chat = full_quantization.render_seeds(tokenizer)
    assert is_chat
    assert prompts == [f"user: {prompt}" for prompt in full_quantization.SEED_PROMPTS]


def test_an_answer_goes_on_to_its_end() -> None:
    assert list(full_quantization.until_end([5, 6, 2, 7], {2})) == [5, 6, 2]
    assert list(full_quantization.until_end([5, 6], {2})) == [5, 6]
