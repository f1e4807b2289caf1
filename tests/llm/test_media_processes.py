"""Programs with models of speech and images, whose libraries run in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.wav_files import wav

# As notebooks and small scripts are: without a `__main__` guard.
SCRIPT = """
import sys
import time

from server import ImageModel, SpeechModel, VoiceModel

*folders, audio = sys.argv[1:]
models = [kind(folder) for kind, folder in zip((SpeechModel, VoiceModel, ImageModel), folders)]
assert models[0].transcribe(audio, language="en").text
if len(models) > 1:
    assert models[1].speak("The fox runs")
    [image] = models[2].generate("a cat", size="64x64", num_inference_steps=1)
    models[2].edit("a dog", image, strength=1.0, num_inference_steps=1)
print({"openvino_genai", "av"} & set(sys.modules), flush=True)
time.sleep(600)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@contextmanager
def started(tmp_path: Path, *folders: Path) -> Iterator[subprocess.Popen[str]]:
    """The script, once its models have worked."""
    audio = tmp_path / "a.wav"
    audio.write_bytes(wav(1))
    command = [sys.executable, "-c", SCRIPT, *map(str, folders), str(audio)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "set()\n"
            yield process
        finally:
            process.kill()


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def wait_for_end(pids: list[int]) -> None:
    end = time.monotonic() + 60
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        # Nobody may collect the status of one whose parent was killed: a Z is left.
        while stat.exists() and ") Z " not in stat.read_text():
            assert time.monotonic() < end
            time.sleep(0.01)


def test_the_libraries_are_not_in_the_program_and_end_with_it(
    speech_models: Path, sd_model: Path, tmp_path: Path
) -> None:
    folders = speech_models / "whisper", speech_models / "speecht5", sd_model
    with started(tmp_path, *folders) as process:
        children = children_of(process.pid)
        assert len(children) == 3
        process.kill()
        process.wait()
        wait_for_end(children)


def test_an_interrupt_of_the_terminal_reaches_the_program_alone(
    speech_models: Path, tmp_path: Path
) -> None:
    with started(tmp_path, speech_models / "whisper") as process:
        children = children_of(process.pid)
        assert len(children) == 1
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert errors.count("Traceback") == 1, errors
        assert errors.rstrip().endswith("KeyboardInterrupt")
        wait_for_end(children)
