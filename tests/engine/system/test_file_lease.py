"""Mapped weights that are overwritten; some tests need a process that SIGBUS may end."""

import gc
import mmap
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server.engine.model.model_loader import load_model
from server.engine.system import file_lease
from server.engine.system.file_lease import FileLease
from server.host.model_files import MODEL_FILE

SCRIPT = """
import subprocess, sys
from pathlib import Path
from server.engine import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingParams
from tests.support.engine_helpers import F32, generate

model = Path(sys.argv[1])
weights = model / "openvino_model.bin"
engine = LLMEngine(EngineConfig(model, plugin_config=F32, num_kv_blocks=50))
assert str(weights) in Path("/proc/self/maps").read_text()
params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
prompts = [[5, 6, 7], list(range(100))]
before = generate(engine, prompts, params)
subprocess.run(["sh", "-c", sys.argv[2], "sh", weights], check=True)
assert str(weights) not in Path("/proc/self/maps").read_text()
assert generate(engine, prompts, params) == before
engine.close()
"""


@pytest.fixture
def model(model_f32: Path, tmp_path: Path) -> Path:
    shutil.copytree(model_f32, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "command",
    ['echo other > "$1"', ': > "$1"', 'dd if=/dev/zero of="$1" conv=notrunc count=999'],
    ids=["replaced", "emptied", "overwritten"],
)
def test_an_engine_outlives_its_weights(model: Path, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(model), command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr[-2000:].count("Traceback")) == (0, 0), done.stderr


def weights_of(model: Path) -> Path:
    return (model / MODEL_FILE).with_suffix(".bin")


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_weights_that_are_being_written_are_read_into_memory(model: Path) -> None:
    with weights_of(model).open("r+b"):
        loaded = load_model(model, "CPU", {})
    assert loaded.weights_lease is None
    assert not is_mapped(weights_of(model))


@pytest.mark.parametrize("enabled", [True, False])
def test_the_user_decides(model: Path, enabled: bool) -> None:
    loaded = load_model(model, "CPU", {"ENABLE_MMAP": enabled})
    assert loaded.weights_lease is None
    assert is_mapped(weights_of(model)) is enabled


def test_a_lease_ends_with_its_model(model: Path) -> None:
    loaded = load_model(model, "CPU", {})
    assert is_mapped(weights_of(model))
    del loaded
    gc.collect()
    # With a lease left, the writer would wait, as nothing makes way for it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileLease, "look", lambda _: None)
        weights_of(model).write_bytes(b"")


def test_two_leases_on_one_file_both_make_way(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 10_000)
    leases = [FileLease(path), FileLease(path)]
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    path.write_bytes(b"")
    assert mapped[:] == b"a" * 10_000
    assert [lease.is_held for lease in leases] == [False, False]


def test_pages_that_were_given_back_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    lease = FileLease(path)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    lease.forget_pages()
    assert mapped[:] == path.read_bytes()


def test_there_is_one_thread_and_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lease, "_LEASES", file_lease._Leases())
    before = set(threading.enumerate())
    path = tmp_path / "file"
    path.write_bytes(b"a")
    leases = [FileLease(path) for _ in range(3)]
    (thread,) = set(threading.enumerate()) - before
    del leases
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_a_folder_has_no_lease(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"."):
        FileLease(tmp_path)
