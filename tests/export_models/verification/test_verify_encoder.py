"""What the comparison of an exported encoder with its source makes of the answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from export_models.conversion.tool import ToolResult
from export_models.progress import Progress
from export_models.source import Source, SourceKind
from export_models.verification.verify_encoder import EncoderVerifier
from server.errors import ExportError

TEXTS = {"wrong_texts": [], "num_texts": 10}
HUB = Source("org/m", SourceKind.CHECKPOINT_HUB)


@pytest.fixture
def verify(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Verify a model with weights of a type whose process answers this; returns what is printed."""

    def run(answer: dict[str, object] | None, weights: str = "f32", source: Source = HUB) -> str:
        def answering(command: list[str], *_: object) -> ToolResult:
            if answer is not None:
                Path(command[5]).write_text(json.dumps(answer))
            return ToolResult(0 if answer is not None else -9, "", Path("the.log"))

        monkeypatch.setattr("export_models.verification.verify_encoder.run_tool", answering)
        folder = make_model(tmp_path / "m", f'element_type="{weights}" shape="8, 8"')
        EncoderVerifier(Progress()).verify(folder, source, "embeddings")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("weights", "cosine", "is_right"),
    [
        ("f32", 0.99995, True),
        ("f32", 0.9995, False),
        ("f16", 0.9995, True),
        ("f16", 0.99, False),
        ("i8", 0.99, True),
        ("u8", 0.96, False),
        ("u4", 0.9, True),
        ("i4", 0.8, False),
        ("f32", -1.0, False),
    ],
)
def test_cosines(verify: Callable[..., str], weights: str, cosine: float, is_right: bool) -> None:
    if is_right:
        printed = verify({"cosine": cosine, **TEXTS}, weights)
        assert (
            f"compared with its source in torch: the cosine of vectors is {cosine:.6f}" in printed
        )
        return
    with pytest.raises(ExportError, match="its answers are not those of the source: the cosine"):
        verify({"cosine": cosine, **TEXTS}, weights)


def test_scores(verify: Callable[..., str]) -> None:
    assert "scores differ by at most 0.000900" in verify({"difference": 0.0009, **TEXTS})
    with pytest.raises(ExportError, match="scores differ by at most 0.002000; the model is not li"):
        verify({"difference": 0.002, **TEXTS})


def test_tokens(verify: Callable[..., str]) -> None:
    printed = verify({"cosine": 1.0, "wrong_texts": ["'a' gives [1]"] * 5, "num_texts": 10})
    assert printed.count("warning: the tokenizer is not quite that of the source: 'a' gives") == 3
    with pytest.raises(ExportError, match="6 of 10 texts give other tokens"):
        verify({"cosine": 1.0, "wrong_texts": ["'a' gives [1]"] * 6, "num_texts": 10})


def test_what_is_not_compared(verify: Callable[..., str]) -> None:
    assert "not compared with the source model: memory" in verify({"note": "memory does not suff"})
    assert "the process with torch ended with exit code -9; see the.log" in verify(None)
    ready = Source("OpenVINO/m", SourceKind.OPENVINO_HUB)
    assert "it is an OpenVINO model already" in verify(None, source=ready)
