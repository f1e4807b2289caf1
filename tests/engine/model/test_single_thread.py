"""One thread for each stream: f32 on a CPU with AMX, where bf16 would end the process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import openvino as ov
import pytest

from server.engine.model import single_thread
from server.engine.model.single_thread import HINT, with_safe_precision
from server.errors import ModelLoadError
from server.host.cpu_features import has_int8_amx

LOAD = """
import sys
from pathlib import Path
from server.engine.model.model_loader import load_model
model = load_model(Path(sys.argv[1]), "CPU", eval(sys.argv[2]))
print(model.layers.get_property("INFERENCE_PRECISION_HINT").get_type_name())
"""
DEFAULT = ov.Core().get_property("CPU", HINT)
ONE_THREAD: list[dict[str, Any]] = [
    {"INFERENCE_NUM_THREADS": 1},
    {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": 2},
]

needs_bf16 = pytest.mark.skipif(ov.Type.bf16 != DEFAULT, reason="this CPU does not default to bf16")


@pytest.fixture(params=[True, False], ids=["AMX", "no AMX"])
def has_amx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(single_thread, "has_int8_amx", lambda: request.param)
    return bool(request.param)


@needs_bf16
@pytest.mark.parametrize("properties", ONE_THREAD, ids=["one thread", "one for each stream"])
def test_one_thread_computes_in_f32_on_amx_only(properties: dict[str, Any], has_amx: bool) -> None:
    safe = {**properties, HINT: "f32"} if has_amx else properties
    assert with_safe_precision(ov.Core(), properties) == safe


@pytest.mark.parametrize("properties", [{"INFERENCE_NUM_THREADS": 2}, {"NO_SUCH_PROPERTY": 1}])
def test_other_properties_stay_as_they_are(properties: dict[str, Any], has_amx: bool) -> None:
    assert with_safe_precision(ov.Core(), properties) == properties


@needs_bf16
def test_bf16_that_was_asked_for_is_refused_on_amx_only(has_amx: bool) -> None:
    properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, HINT: "bf16"}
    if not has_amx:
        assert with_safe_precision(ov.Core(), properties) == properties
        return
    with pytest.raises(ModelLoadError, match="INFERENCE_NUM_THREADS at least 2"):
        with_safe_precision(ov.Core(), properties)


@pytest.mark.parametrize("properties", ONE_THREAD, ids=["one thread", "one for each stream"])
def test_this_cpu_loads_a_model_on_one_thread(model_f32: Path, properties: dict[str, Any]) -> None:
    """In a process of its own, which a wrong precision would end."""
    command = [sys.executable, "-c", LOAD, str(model_f32), repr(properties)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    expected = "f32" if has_int8_amx() else DEFAULT.get_type_name()
    assert done.stdout.strip() == expected
