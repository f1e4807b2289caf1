"""Exports for the other tasks with the real tools, and what the server then answers."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny_rankers import DOCUMENTS, QUERY
from support.warm_python.launcher import WARM_PYTHON

from export_models.model_files import find_missing_part
from server import RerankModel
from server.cli.check import check_models
from server.models.config import load_config, single_model_config

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "export_models" / "export_model.py"

F32 = {"INFERENCE_PRECISION_HINT": "f32"}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def export_task(tmp_path: Path) -> Run:
    """Run the script as a user does, in a folder of its own."""

    def run(task: str, source: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [WARM_PYTHON.executable, str(SCRIPT), task, "--source_model", str(source)]
        command += ["--model_name", "m", *flags]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def test_a_reranker(export_task: Run, rankers: Path, tmp_path: Path) -> None:
    folder = rankers / "modernbert"
    result = export_task("rerank_ov", folder / "source", "--weight-format", "fp32")
    assert result.returncode == 0, result.stderr
    assert "compared with its source in torch: scores differ by at most 0.0000" in result.stdout
    assert "warning" not in result.stdout
    expected = json.loads((folder / "expected.json").read_text())["scores"]
    with RerankModel(tmp_path / "models" / "m", plugin_config=F32) as model:
        found = {ranked.index: ranked.score for ranked in model.rerank(QUERY, DOCUMENTS)}
    assert [found[i] for i in range(len(DOCUMENTS))] == pytest.approx(expected, abs=1e-4)


def test_an_image_pipeline(export_task: Run, sd_model: Path, tmp_path: Path) -> None:
    result = export_task("image_generation", sd_model.parent / "source", "--weight-format", "fp16")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stdout
    model = tmp_path / "models" / "m"
    parts = ("unet", "text_encoder", "vae_decoder")
    assert find_missing_part(model, [f"{part}/openvino_model.xml" for part in parts]) is None
    assert (model / "tokenizer" / "openvino_tokenizer.xml").is_file()
    (model / "graph.pbtxt").unlink()
    assert check_models(load_config(tmp_path / "config.json")) == 0, "its files say what it is for"


def test_a_model_that_hears(export_task: Run, speech_models: Path, tmp_path: Path) -> None:
    source = speech_models / "source" / "whisper"
    result = export_task("speech2text", source, "--weight-format", "fp32")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stdout, "the server takes it"
    model = tmp_path / "models" / "m"
    for name in ("preprocessor_config.json", "generation_config.json"):
        assert (model / name).is_file()
    (model / "graph.pbtxt").unlink()
    assert check_models(load_config(tmp_path / "config.json")) == 0, "its files say what it is for"


def test_a_model_that_speaks(export_task: Run, speech_models: Path, tmp_path: Path) -> None:
    source = speech_models / "source" / "speecht5"
    voice = tmp_path / "anna.bin"
    voice.write_bytes(bytes(512 * 4))
    result = export_task(
        *("text2speech", source, "--vocoder", str(source / "vocoder"), "--weight-format", "fp32"),
        *("--speaker_name", "anna", "--speaker_path", str(voice)),
    )
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stdout, "the server takes it, with the voice"
    (tmp_path / "models" / "m" / "graph.pbtxt").unlink()
    assert check_models(load_config(tmp_path / "config.json")) == 0, "its files say what it is for"


def test_the_graph_alone(rankers: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(rankers / "bert" / "openvino", tmp_path / "m"))
    command = [sys.executable, "-m", "server", "--configure", "--model_path", str(model)]
    flags = ["--model_name", "m", "--max_allowed_chunks", "5", "--num_streams", "2"]
    subprocess.run([*command, *flags], cwd=ROOT, check=True)
    text = (model / "graph.pbtxt").read_text()
    assert "RerankCalculatorOV" in text, "the files say what the model is for"
    assert "max_allowed_chunks: 5" in text
    assert """plugin_config: '{"NUM_STREAMS": "2"}'""" in text
    assert check_models(single_model_config("m", model)) == 0
