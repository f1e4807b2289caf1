"""Fixtures of every room: the models that tests run."""

import signal
from pathlib import Path

import pytest
from support.made_models import export_f32, make_once, run_python

from server.engine.model.tuning import tuned_model
from server.engine.model.tuning.tuner import Tuning

ROOT = Path(__file__).parents[1]

SOURCE_MODEL = ROOT / "demos" / "tiny_chat" / "model"
"""A Hugging Face folder with a causal language model, small but trained."""


def pytest_configure() -> None:
    """Let interrupts reach what the tests start; a job in the background gets none."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_auto_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers would depend on what was faster at that moment."""
    monkeypatch.setattr(tuned_model, "tune", lambda *_: Tuning({}))


@pytest.fixture(scope="session")
def hf_model() -> Path:
    """A causal language model as Hugging Face's transformers store it."""
    return SOURCE_MODEL


@pytest.fixture(scope="session")
def model_f32(hf_model: Path) -> Path:
    """The f32 OpenVINO IR of `hf_model`."""
    return make_once(
        "f32",
        list(hf_model.iterdir()),
        lambda to: export_f32("text-generation-with-past", hf_model, to),
    )


@pytest.fixture(scope="session")
def bert_model() -> Path:
    """A small text classifier: its f32 IR and tokenizer in `openvino`, and `expected.npz`."""
    maker = Path(__file__).parent / "support" / "tiny_bert.py"

    def make(to: Path) -> None:
        run_python(maker, to)
        export_f32("text-classification", to / "source", to / "openvino")

    return make_once("bert", [maker], make)
