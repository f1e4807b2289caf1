"""What clients see of each fault, and how long it takes until they are served again:

    python tests/faults/measure.py [FAULT ...]

It prints the table of docs/faults.md. Steps count as hung after 3 s here, not after 30.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.openvino_models import add_model, write_model  # noqa: E402
from support.server_process import ServerProcess, server_process  # noqa: E402

HUNG_S = 3
TIMEOUT_S = 60.0
FLAGS = ("--hung_step_seconds", HUNG_S, "--stalled_loop_seconds", 15, "--drain_timeout_s", 1)

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
}


@dataclass(frozen=True)
class Case:
    """A fault, what its file holds, and the request that meets it."""

    fault: str
    amount: str = ""
    request: str = "chat"


CASES = (
    Case("step_fails"),
    Case("step_has_no_memory"),
    Case("step_exits"),
    Case("request_exits"),
    Case("step_hangs"),
    Case("step_hangs", "20"),
    Case("batch_fails", request="embed"),
    Case("batch_exits", request="embed"),
    Case("batch_hangs", request="embed"),
    Case("inference_exits", request="add"),
    Case("inference_hangs", request="add"),
    Case("loop_stalls", "7"),
    Case("loop_stalls"),
)


@dataclass
class Outcome:
    """What was seen of a fault."""

    answer: str = ""
    answer_s: float = 0.0
    probe: str = ""
    again_s: float | None = None
    exit_code: int | None = None

    def row(self, case: Case) -> str:
        """A line of the table."""
        name = f"{case.fault} {case.amount}".strip()
        again = "-" if self.again_s is None else f"{self.again_s:.1f}"
        end = "" if self.exit_code is None else f"; the process ends with code {self.exit_code}"
        cells = (f"`{name}`", self.answer + end, f"{self.answer_s:.1f}", self.probe, again)
        return f"| {' | '.join(cells)} |"


def write_models(folder: Path) -> Path:
    """The bundled models and one without a graph; returns config.json."""
    write_model(folder / "add", add_model())
    bundled = ROOT / "server" / "bundled_models"
    entries = [
        {"config": {"name": name, "base_path": str(bundled / name)}}
        for name in ("tiny_chat", "tiny_embedder")
    ]
    entries.append({"config": {"name": "add", "base_path": "add", "target_device": "CPU"}})
    config = folder / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    return config


def ask(server: ServerProcess, name: str) -> str:
    """The status of a request and the beginning of its error."""
    path, body = REQUESTS[name]
    try:
        status, answer = server.post(path, body)
    except OSError as error:
        return f"connection lost ({type(error).__name__})"
    problem = answer.get("error", "")
    text = problem.get("message", "") if isinstance(problem, dict) else problem
    return f"{status} {text}".strip()


def measure(config: Path, faults: Path, case: Case) -> Outcome:
    """Start a server, cause the fault, and ask until the server serves again."""
    outcome = Outcome()
    program = (ROOT / "tests" / "faults" / "faulty_server.py", faults)
    with server_process("--config_path", config, *FLAGS, program=program) as server:
        first = ask(server, case.request)
        assert first == "200", first
        (faults / case.fault).write_text(case.amount)
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
            outcome.exit_code = server.process.wait(10)
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
        config = write_models(Path(folder))
        faults = Path(folder) / "faults"
        faults.mkdir()
        for case in CASES:
            if not names or case.fault in names:
                print(measure(config, faults, case).row(case), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
