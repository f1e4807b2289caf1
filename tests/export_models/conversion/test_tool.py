import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export_models.conversion.tool import run_tool
from export_models.progress import Progress


def test_output_is_followed_and_kept_in_the_result() -> None:
    seen: list[str] = []
    result = run_tool(["-c", "import os; print(os.environ['GIVEN'])"], {"GIVEN": "é"}, seen.append)
    assert (result.return_code, result.log) == (0, "é\n")
    assert "".join(seen) == "é\n"
    assert not result.log_path.exists()


def test_log_of_a_failure_is_left() -> None:
    result = run_tool(["-c", "raise SystemExit('why')"], {}, lambda _: None)
    assert result.return_code == 1
    assert result.log_path.read_text() == "why\n"
    result.log_path.unlink()


def test_modules_of_the_current_folder_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "textwrap.py").write_text("raise SystemExit(3)")
    assert run_tool(["-c", "import textwrap"], {}, lambda _: None).return_code == 0


def test_a_long_step_shows_that_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Progress()
    progress.heartbeat("not yet", 0.1)
    monkeypatch.setattr("export_models.progress.HEARTBEAT_S", 0.0)
    progress.heartbeat("at work", 0.2)
    assert capsys.readouterr().out == "[   0.0 s] still running: at work\n"


# In a process of its own: hooks of a fork stay, and other tests have threads that run native code.
SIGNAL_AT_FORK = """
import os, signal
from export_models.conversion.tool import run_tool

hooks = {"armed": True}

def at_fork():
    if hooks.pop("armed", False):
        signal.raise_signal(signal.SIGTERM)

def stop(number, _):
    raise SystemExit(128 + number)

# As the hooks of `logging`: what they raise is printed and forgotten.
os.register_at_fork(before=at_fork)
signal.signal(signal.SIGTERM, stop)
run_tool(["-c", "import time; time.sleep(60)"], {}, lambda _: None)
"""


def test_a_signal_during_the_start_is_not_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_FORK],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    assert not list(tmp_path.iterdir())


def test_a_tool_can_be_stopped_by_signals() -> None:
    code = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    assert run_tool(["-c", code], {}, lambda _: None).log == "set()\n"
