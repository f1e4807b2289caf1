"""demos/benchmark/quality.py measures what its table says."""

import math
import re
import subprocess
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from support.warm_python.launcher import WARM_PYTHON

from server.engine import EngineConfig, LLMEngine

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "demos" / "benchmark" / "quality.py"
F32 = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import quality

    return quality


def test_agreement_ends_at_the_first_difference(quality) -> None:
    assert quality.agreement([[1, 2, 3], [4]], [[1, 2, 3], [4]]) == 1
    assert quality.agreement([[1, 9, 3], [4, 5]], [[1, 2, 3], [4]]) == 0.5
    assert quality.agreement([[], [4]], [[1, 2, 3], [4]]) == 0.25


def test_speeds_are_medians_of_the_ratios_of_rounds(
    quality, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_rounds = [1, 1, 2, 4, 8]
    rounds = {"fp32": iter(slow_rounds), "fast": iter(slow_rounds)}

    def measure_speed(engine: str) -> tuple[float, float]:
        share = 1 / next(rounds[engine])
        return (100 * share, 50 * share) if engine == "fp32" else (250 * share, 25 * share)

    monkeypatch.setattr(quality, "measure_speed", measure_speed)
    assert quality.compare_speeds(["fp32", "fast"]) == [(1.0, 1.0), (2.5, 0.5)]


def test_perplexity_is_that_of_the_answer(quality, model_f32: Path) -> None:
    prompt, answer = [5, 6, 7, 8], [9, 10, 11]
    engine = LLMEngine(EngineConfig(model_f32, plugin_config=F32, num_kv_blocks=16))
    found = quality.perplexity(engine, [quality.Question(None, prompt, answer)])
    engine.close()
    assert found == pytest.approx(reference_perplexity(model_f32, prompt, answer), rel=1e-3)


def reference_perplexity(model: Path, prompt: list[int], answer: list[int]) -> float:
    ids = np.array([prompt + answer])
    compiled = ov.Core().compile_model(model / "openvino_model.xml", "CPU", F32)
    inputs = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(ids.size)[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    logits = compiled(inputs)["logits"][0, len(prompt) - 1 : -1].astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return math.exp(-logprobs[np.arange(len(answer)), answer].mean())


def test_the_table(tmp_path: Path) -> None:
    command = [WARM_PYTHON.executable, str(SCRIPT), "--formats", "fp32", "--per-category", "1"]
    command += ["--build-folder", str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    [row] = re.findall(r"^\| fp32 \| (.*) \|$", printed.stdout, re.MULTILINE)
    perplexity, right, agreement, size, decode, prompt = map(float, row.split(" | "))
    assert 1 < perplexity < 2
    assert right > 50
    assert agreement == 100
    assert size == pytest.approx(15.9, abs=1)
    assert decode == prompt == 1, "the speed of fp32 is what others are told by"
