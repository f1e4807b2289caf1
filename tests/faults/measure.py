"""What clients see of each fault, and how long it takes until they are served again:

    python tests/faults/measure.py [FAULT ...]

It prints the table of docs/faults.md. Steps count as hung after 3 s here, and calls
of nodes in Python.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from faults.faulty_server import FAULTS  # noqa: E402
from faults.hung_nodes import HANDLER, HANDLER_GRAPH  # noqa: E402
from openai import APIStatusError  # noqa: E402
from support.openvino_models import add_model, write_model  # noqa: E402
from support.python_graphs import write_graph  # noqa: E402
from support.server_process import ServerProcess, server_process  # noqa: E402
from support.speech_graphs import TEXT2SPEECH  # noqa: E402

from server.host.atomic_files import write_atomically  # noqa: E402

SPEECH_MAKER = ROOT / "tests" / "support" / "tiny_speech.py"

HUNG_S = 3
TIMEOUT_S = 60.0
FLAGS = ("--hung_step_seconds", HUNG_S, "--stalled_loop_seconds", 15, "--drain_timeout_s", 1)
PYTHON_FLAGS = ("--hung_node_seconds", HUNG_S)

CHAT = {"model": "tiny_chat", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
EMBED = {"model": "tiny_embedder", "input": "hi"}
ADD = {
    "inputs": [
        {"name": name, "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]} for name in "xy"
    ]
}
REQUESTS: dict[str, tuple[str, Any]] = {
    "chat": ("/v3/chat/completions", CHAT),
    "embed": ("/v3/embeddings", EMBED),
    "add": ("/v2/models/add/infer", ADD),
    "upper": (
        "/v2/models/handler/infer",
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]},
    ),
    "speak": ("/v3/audio/speech", {"model": "speech", "input": "hello", "voice": "default"}),
}

ALL_BUT_SPEECH = ("chat", "embed", "add", "upper")

Cause = Callable[["ServerProcess", Path], object]


def send_signals(child: str, *signals: tuple[float, int]) -> Cause:
    """Send signals to the child of the server whose command line has this text, after seconds."""

    def cause(server: ServerProcess, _: Path) -> None:
        pid = child_of(server, child)
        for seconds, number in signals:
            timer = threading.Timer(seconds, os.kill, (pid, number))
            timer.start()
            if not seconds:
                timer.join()

    return cause


def child_of(server: ServerProcess, text: str) -> int:
    """The process id of a child of the server."""
    for tasks in Path(f"/proc/{server.process.pid}/task").glob("*/children"):
        for pid in tasks.read_text().split():
            if text in Path("/proc", pid, "cmdline").read_text():
                return int(pid)
    raise LookupError(f"the server has no child {text}")


def fill_disk(server: ServerProcess, folder: Path) -> None:
    """Let no file grow any more, and a model be loaded again."""
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    change_model(server, folder)


def change_model(server: ServerProcess, folder: Path) -> None:
    """Let the file of a model be another one, and wait until that is noticed."""
    (xml,) = (folder / "add").rglob("*.xml")
    write_atomically(xml, xml.read_text() + " ")
    reload(server)


def break_model(server: ServerProcess, folder: Path) -> None:
    """Put something else in place of a model, and wait until that is noticed."""
    (xml,) = (folder / "add").rglob("*.xml")
    write_atomically(xml, "no model")
    reload(server)


def remove_model(server: ServerProcess, folder: Path) -> None:
    """Remove the file of a model, and wait until that is noticed."""
    (xml,) = (folder / "add").rglob("*.xml")
    xml.unlink()
    reload(server)


def reload(server: ServerProcess) -> tuple[int, Any]:
    """Ask for a reload."""
    return server.post("/v1/config/reload", {})


def _reload_in_vain(server: ServerProcess) -> None:
    # The server ends before it answers.
    with suppress(OSError):
        reload(server)


def hang_in_execute(_: ServerProcess, folder: Path) -> None:
    """Let the next call of a handler hang."""
    (folder / "handler" / "execute_hangs").touch()


def hang_in_load(server: ServerProcess, folder: Path) -> None:
    """Let the load of a changed handler hang."""
    (folder / "handler" / "initialize_hangs").touch()
    with (folder / "handler" / "model.py").open("a") as handler:
        handler.write("# changed")
    threading.Thread(target=_reload_in_vain, args=(server,), daemon=True).start()
    while (folder / "handler" / "initialize_hangs").exists():
        time.sleep(0.01)


@dataclass(frozen=True)
class Case:
    """A fault, how the answer begins, what its file holds, and the request that meets it.

    `cause` is what else is done, before the file is written that names the fault.
    """

    fault: str
    expected: str
    amount: str = ""
    request: str = "chat"
    cause: Cause | None = None


CASES = (
    Case("step_fails", "500"),
    Case("step_has_no_memory", "500"),
    Case("step_throws_bad_alloc", "500"),
    Case("step_exits", "500"),
    Case("request_exits", "500"),
    Case("engine_thread_dies", "503"),
    Case("step_hangs", "503"),
    Case("step_hangs", "503", "20"),
    Case("batch_fails", "500", request="embed"),
    Case("batch_has_no_memory", "500", request="embed"),
    Case("batch_exits", "500", request="embed"),
    Case("batch_hangs", "503", request="embed"),
    Case("inference_has_no_memory", "500", request="add"),
    Case("inference_exits", "500", request="add"),
    Case("inference_hangs", "503", request="add"),
    Case("load_has_no_memory", "200", request="add", cause=change_model),
    Case("load_throws_bad_alloc", "200", request="add", cause=change_model),
    Case("model_is_replaced_by_garbage", "200", request="add", cause=break_model),
    Case("model_is_removed", "200", request="add", cause=remove_model),
    Case("disk_is_full", "200", request="add", cause=fill_disk),
    Case("node_hangs", "504", request="upper", cause=hang_in_execute),
    Case("load_hangs", "200", request="upper", cause=hang_in_load),
    Case("template_is_killed", "200", cause=send_signals("render_worker", (0, signal.SIGKILL))),
    Case("template_hangs", "400", cause=send_signals("render_worker", (0, signal.SIGSTOP))),
    Case(
        "speech_is_killed",
        "500",
        request="speak",
        cause=send_signals("media.worker", (0, signal.SIGSTOP), (1, signal.SIGKILL)),
    ),
    Case(
        "speech_hangs",
        "500",
        request="speak",
        cause=send_signals("media.worker", (0, signal.SIGSTOP)),
    ),
    Case("loop_stalls", "200", "7"),
    Case("loop_stalls", "connection lost"),
)


@dataclass
class Outcome:
    """What was seen of a fault."""

    answer: str = ""
    answer_s: float = 0.0
    probe: str = ""
    again_s: float | None = None
    exit_code: int | None = None
    log: str = ""

    def row(self, case: Case) -> str:
        """A line of the table."""
        name = f"{case.fault} {case.amount}".strip()
        again = "-" if self.again_s is None else f"{self.again_s:.1f}"
        end = "" if self.exit_code is None else f"; the process ends with code {self.exit_code}"
        cells = (f"`{name}`", self.answer + end, f"{self.answer_s:.1f}", self.probe, again)
        return f"| {' | '.join(cells)} |"


def write_models(
    folder: Path, requests: Container[str] = ALL_BUT_SPEECH, speech: Path | None = None
) -> Path:
    """The models of these requests; returns config.json. `speech` has the one that speaks."""
    bundled = ROOT / "server" / "bundled_models"
    write_model(folder / "add", add_model())
    write_graph(folder / "handler", HANDLER_GRAPH, model=HANDLER)
    if speech is not None:
        write_graph(folder / "speech", TEXT2SPEECH.format(models_path=speech, options=""))
    models = {
        "chat": {"name": "tiny_chat", "base_path": str(bundled / "tiny_chat")},
        "embed": {"name": "tiny_embedder", "base_path": str(bundled / "tiny_embedder")},
        "add": {"name": "add", "base_path": "add", "target_device": "CPU"},
        "upper": {"name": "handler", "base_path": "handler"},
        "speak": {"name": "speech", "base_path": "speech"},
    }
    entries = [{"config": model} for request, model in models.items() if request in requests]
    config = folder / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    return config


def ask(server: ServerProcess, name: str) -> str:
    """The status of a request and the beginning of its error."""
    path, body = REQUESTS[name]
    try:
        if name == "speak":
            status, answer = speak(server, path, body)
        else:
            status, answer = server.post(path, body)
    except OSError as error:
        return f"connection lost ({type(error).__name__})"
    problem = answer.get("error", "")
    text = problem.get("message", "") if isinstance(problem, dict) else problem
    return f"{status} {text}".strip()


def speak(server: ServerProcess, path: str, body: Any) -> tuple[int, Any]:
    """The status of a request for sound, and the error if there is one."""
    try:
        server.openai().audio.speech.create(**body)
    except APIStatusError as error:
        return error.status_code, error.response.json()
    return 200, {}


def measure(config: Path, faults: Path, case: Case) -> Outcome:
    """Start a server, cause the fault, and ask until the server serves again."""
    outcome = Outcome()
    program = (ROOT / "tests" / "faults" / "faulty_server.py", faults)
    flags = (*FLAGS, *(PYTHON_FLAGS if case.request == "upper" else ()))
    with server_process("--config_path", config, *flags, program=program) as server:
        first = ask(server, case.request)
        assert first == "200", first
        if case.cause is None or case.fault in FAULTS:
            (faults / case.fault).write_text(case.amount)
        if case.cause is not None:
            case.cause(server, config.parent)
        if case.fault == "loop_stalls":
            time.sleep(0.5)
        began = time.monotonic()
        threading.Thread(target=_watch_readiness, args=(server, outcome), daemon=True).start()
        outcome.answer = ask(server, case.request)
        outcome.answer_s = time.monotonic() - began
        while time.monotonic() - began < TIMEOUT_S and server.process.poll() is None:
            if ask(server, case.request) == "200" and is_ready(server):
                outcome.again_s = time.monotonic() - began
                break
            time.sleep(0.1)
        else:
            outcome.exit_code = server.wait()
        outcome.log = "".join(server.log)
    return outcome


def is_ready(server: ServerProcess) -> bool:
    """What the probe says."""
    try:
        return server.get("/v2/health/ready")[0] == 200
    except OSError:
        return False


def _watch_readiness(server: ServerProcess, outcome: Outcome) -> None:
    """Note whether a probe said that the server is not ready while it was not."""
    while outcome.again_s is None and server.process.poll() is None:
        if not is_ready(server):
            outcome.probe = "not ready"
        time.sleep(0.1)


def main(names: Sequence[str]) -> None:
    """Measure the faults of these names, or all."""
    print("| fault | the client gets | after s | probe | serves again after s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "speech"
        for number, case in enumerate(CASES):
            if names and case.fault not in names:
                continue
            work = Path(folder) / f"{number}"
            faults = work / "faults"
            faults.mkdir(parents=True)
            is_spoken = case.request == "speak"
            if is_spoken and not speech.exists():
                command = [sys.executable, SPEECH_MAKER, speech]
                subprocess.run(command, check=True, capture_output=True)
            source = speech / "speecht5" if is_spoken else None
            config = write_models(work, [case.request], source)
            print(measure(config, faults, case).row(case), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
