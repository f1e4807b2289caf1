"""Run in processes of their own: what is tested would end this one."""

import subprocess
import sys
from pathlib import Path

import openvino as ov
import pytest

from server.engine.model.model_loader import load_model
from server.errors import ModelLoadError

LOAD = """
import sys
from pathlib import Path
from server.engine.model.model_loader import load_model
model = load_model(Path(sys.argv[1]), "CPU", eval(sys.argv[2]))
print(model.layers.get_property("INFERENCE_PRECISION_HINT").get_type_name())
"""


def precision_of(model: Path, properties: dict[str, object]) -> str:
    command = [sys.executable, "-c", LOAD, str(model), repr(properties)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "properties",
    [{"INFERENCE_NUM_THREADS": 1}, {"NUM_STREAMS": "2", "INFERENCE_NUM_THREADS": 2}],
    ids=["one thread", "one for each stream"],
)
def test_a_stream_with_one_thread_computes_in_f32(
    model_f32: Path, properties: dict[str, object]
) -> None:
    assert precision_of(model_f32, properties) == "f32"


def test_two_threads_keep_their_precision(model_f32: Path) -> None:
    default = ov.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    assert precision_of(model_f32, {"INFERENCE_NUM_THREADS": 2}) == default


def test_bf16_that_was_asked_for_is_refused(model_f32: Path) -> None:
    if ov.Core().get_property("CPU", "INFERENCE_PRECISION_HINT") != ov.Type.bf16:
        pytest.skip("this processor has no bf16")
    properties = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "bf16"}
    with pytest.raises(ModelLoadError, match="INFERENCE_NUM_THREADS at least 2"):
        load_model(model_f32, "CPU", properties)
