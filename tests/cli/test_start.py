"""What a start tells: its log lines, the progress bar, and what Ctrl-C does at any moment."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository
from support.server_command import ROOT, ready_line, started
from support.terminal import terminal

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
START = [
    r"INFO server: openvino-graph-server \S+, OpenVINO \d\S+, Python \S+; .*, \d+ CPUs, "
    r"[\d.]+ GB memory free",
    r"INFO server: Listening on http://127\.0\.0\.1:\d+",
    r"INFO server\.models\.loading\.loader: Loading model tiny_chat \(1 of 1\) "
    r"from /.*/tiny_chat",
    r"INFO calculators\.\S+: Chat template 'default' of /.*/chat_template\.jinja knows "
    r"system messages, tools, tool calls, tool results; not .*; variables for thinking: -",
    r"INFO server\.\S+: /.*/tiny_chat runs on CPU; .*\(from plugin_config\).*",
    r"INFO server\.\S+: /.*/tiny_chat takes \d+ MB for weights and \d+ MB for the KV cache "
    r"\(\w+\), which holds \d+ tokens",
    r"INFO server\.models\.loading\.loader: Model tiny_chat is available after [\d.]+ s",
    r"INFO server: Ready\. To stop, press Ctrl-C: running requests have 30 s to end\. "
    r"Ctrl-C again stops at once",
]


def test_the_log_of_a_start() -> None:
    with started("tiny_chat", "--no_auto_tune") as process:
        ready_line(process)
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in START]
        for line, pattern in zip(lines, START, strict=True):
            assert re.fullmatch(TIME + pattern + "\n", line), line


def test_the_progress_bar_and_the_log_share_a_terminal() -> None:
    flags = ["tiny_chat", "--no_auto_tune", "--rest_port", "0"]
    with terminal(*flags, TERM="xterm") as server:
        server.wait_for("Ready.")
        shown = server.shown
        server.type("\x03")
        assert server.wait() == 0
    drawn = [line for part in shown.split("\n") for line in part.split("\r\x1b[K")]
    bars = [line for line in drawn if line.startswith("[")]
    assert len(bars) > 3
    for bar in bars:
        assert re.fullmatch(r"\[[#.]{24}\] +\d+ % tiny_chat: [\w ]+", bar), bar
    for line in drawn:
        # No line of the log begins behind a bar, and no bar is left where a line is.
        assert not line or line in bars or re.match(TIME + "|Serving on ", line), line


@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0])
def test_ctrl_c_at_any_moment(delay_s: float, tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph(open_s=0.3)})
    with started("--config_path", config) as process:
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=60)
    check_interrupted(process.returncode, log)
    if process.returncode == 0:
        assert "SIGINT: no new requests; running ones have 30 s to end. Ctrl-C again stops" in log


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_at_any_moment_of_an_export(delay_s: float, hf_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "export_models.export_model", "text_generation"]
    flags = ["--source_model", str(hf_model), "--model_repository_path", str(tmp_path)]
    with subprocess.Popen(
        [*command, *flags, "--no_config_file"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=60)
    check_interrupted(process.returncode, log)


def check_interrupted(return_code: int, log: str) -> None:
    """No traceback, and a status that says so.

    What Python does before our first line runs is its own.
    """
    files = re.findall(r'File "\S*/(?:server|export_models)/(\S+)"', log)
    if "Traceback" in log:
        assert set(files) <= {"__init__.py", "__main__.py", "cli/__init__.py"}, log
    else:
        assert return_code in (0, 130, -signal.SIGINT), log
