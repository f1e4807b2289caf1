"""Fixtures of every room: the models that tests run."""

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support import server_command, server_process
from support.made_models import export_f32, make_once, run_python
from support.warm_python.launcher import WARM_PYTHON

from server.engine.model.tuning import tuned_model
from server.engine.model.tuning.saved_choices import TuningRecord
from server.engine.model.tuning.tuner import Tuning

ROOT = Path(__file__).parents[1]

SOURCE_MODEL = ROOT / "demos" / "tiny_chat" / "model"
"""A Hugging Face folder with a causal language model, small but trained."""


MANY_MODULES = 100


class _Frozen:
    num_modules = 0


def pytest_configure() -> None:
    """Let interrupts reach what the tests start; a job in the background gets none.

    And let torch compute in one thread, here and in processes: where several processes share the
    cores, its threads wait for each other, and small models take thirty times as long.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_sessionfinish() -> None:
    """End what tests share."""
    WARM_PYTHON.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what uses a real model or the exporters' libraries, or starts processes."""
    for item in items:
        assert isinstance(item, pytest.Function)
        if "exporters" in item.fixturenames or _starts_processes(item.module):
            item.add_marker(pytest.mark.slow)


def _starts_processes(module: ModuleType) -> bool:
    """Whether a test file imports what starts them."""
    starters = (subprocess, server_command, server_process)
    names = {starter.__name__ for starter in starters}
    return any(
        member is subprocess or getattr(member, "__module__", None) in names
        for member in vars(module).values()
    )


@pytest.fixture(scope="session")
def exporters() -> None:
    """What every fixture uses that loads torch, or has it make a model."""


@pytest.fixture(autouse=True, scope="module")
def freeze_modules() -> None:
    """Leave what was imported out of collections of garbage, which would take a second each.

    Models that are unloaded, and requests that fail, each begin one.
    """
    if len(sys.modules) > _Frozen.num_modules + MANY_MODULES:
        gc.collect()
        gc.freeze()
        _Frozen.num_modules = len(sys.modules)


@pytest.fixture(autouse=True)
def no_auto_tune(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers would depend on what was faster at that moment."""
    monkeypatch.setattr(tuned_model, "tune", lambda *_: Tuning(TuningRecord({})))


@pytest.fixture(scope="session")
def hf_model(exporters: None) -> Path:
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
def embedders(exporters: None) -> Path:
    """A folder for each kind of support/decoder_embedders.py."""
    maker = Path(__file__).parent / "support" / "decoder_embedders.py"
    return make_once("embedders", [maker], lambda to: run_python(maker, to))


@pytest.fixture(scope="session")
def bert_model(exporters: None) -> Path:
    """A small text classifier: its f32 IR and tokenizer in `openvino`, and `expected.npz`."""
    maker = Path(__file__).parent / "support" / "tiny_bert.py"

    def make(to: Path) -> None:
        run_python(maker, to)
        export_f32("text-classification", to / "source", to / "openvino")

    return make_once("bert", [maker], make)


@pytest.fixture(scope="session")
def rankers(exporters: None) -> Path:
    """Small rerankers and classifiers of several kinds; see support.tiny_rankers."""
    maker = Path(__file__).parent / "support" / "tiny_rankers.py"
    return make_once("rankers", [maker], lambda to: run_python(maker, to))


@pytest.fixture(scope="session")
def sd_model(exporters: None) -> Path:
    """A tiny random Stable Diffusion 1.5 in f32, and its form of diffusers in `../source`."""
    return make_pipeline("sd")


@pytest.fixture(scope="session", params=["sdxl", "sd3", "flux"])
def large_pipeline(exporters: None, request: pytest.FixtureRequest) -> Path:
    """Tiny random pipelines of the other shapes; each takes half a minute to make."""
    return make_pipeline(request.param)


def make_pipeline(kind: str) -> Path:
    """One of the pipelines of support/tiny_diffusion.py as OpenVINO has it."""
    maker = Path(__file__).parent / "support" / "tiny_diffusion.py"

    def make(to: Path) -> None:
        run_python(maker, kind, to / "source")
        export_f32("text-to-image", to / "source", to / "openvino")

    return make_once(kind, [maker], make) / "openvino"


@pytest.fixture(scope="session")
def tiny_encoders(exporters: None) -> Path:
    """Text encoders of several kinds; see support/tiny_encoders.py."""
    maker = Path(__file__).parent / "support" / "tiny_encoders.py"
    return make_once("encoders", [maker], lambda to: run_python(maker, to))


@pytest.fixture(scope="session")
def speech_models(exporters: None) -> Path:
    """A folder with the IRs `whisper` and `speecht5`, and in `source` what they were made of."""
    maker = Path(__file__).parent / "support" / "tiny_speech.py"
    return make_once("speech", [maker], lambda to: run_python(maker, to))
