"""What `server --check` says of folders that lack a file, or are taken for another task."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from server.cli.check import check_models
from server.models.config import single_model_config

BUNDLED = Path(__file__).parents[2] / "server" / "bundled_models"

Check = Callable[..., str]


@pytest.fixture
def check(
    capsys: pytest.CaptureFixture[str], speech_models: Path, sd_model: Path, tmp_path: Path
) -> Check:
    """Checks a copy of a model without one file for a task; returns what was printed."""
    folders = {
        "chat": BUNDLED / "tiny_chat",
        "embedder": BUNDLED / "tiny_embedder",
        "reranker": BUNDLED / "tiny_reranker",
        "whisper": speech_models / "whisper",
        "speecht5": speech_models / "speecht5",
        "painter": sd_model,
    }

    def run(model: str, task: str, lacks: str | None = None) -> str:
        folder = tmp_path / model
        shutil.copytree(folders[model], folder, ignore=shutil.ignore_patterns("graph.pbtxt"))
        if lacks is not None:
            (folder / lacks).unlink()
        assert check_models(single_model_config("m", folder, {"task": task})) == 1
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("model", "task", "file"),
    [
        ("embedder", "embeddings", "openvino_model.bin"),
        ("embedder", "embeddings", "openvino_tokenizer.xml"),
        ("reranker", "rerank", "openvino_model.xml"),
        ("whisper", "speech2text", "openvino_encoder_model.xml"),
        ("whisper", "speech2text", "openvino_decoder_model.bin"),
        ("whisper", "speech2text", "openvino_detokenizer.xml"),
        ("whisper", "speech2text", "config.json"),
        ("speecht5", "text2speech", "openvino_tokenizer.xml"),
        ("speecht5", "text2speech", "openvino_postnet.xml"),
        ("speecht5", "text2speech", "openvino_vocoder.bin"),
        ("painter", "image_generation", "unet/openvino_model.bin"),
        ("painter", "image_generation", "scheduler/scheduler_config.json"),
    ],
)
def test_a_missing_file_is_named(check: Check, model: str, task: str, file: str) -> None:
    assert file in check(model, task, lacks=file)


@pytest.mark.parametrize(
    ("model", "task", "problem"),
    [
        ("reranker", "embeddings", "it is a classifier, which gives no vectors"),
        ("embedder", "rerank", "a classifier has one of 2 dimensions"),
        ("chat", "rerank", "nothing says by which tokens it scores"),
        ("whisper", "rerank", "only a decoder alone gives hidden states and logits"),
        ("whisper", "text_generation", "the encoder of a model that generates text has input_ids"),
        ("embedder", "text_generation", "openvino_detokenizer.xml: no such file"),
        ("speecht5", "text_generation", "not a stateful language model"),
        ("embedder", "speech2text", "openvino_detokenizer.xml missing"),
        ("painter", "text2speech", "config.json missing"),
    ],
)
def test_a_wrong_task_is_explained(check: Check, model: str, task: str, problem: str) -> None:
    assert problem in check(model, task)
