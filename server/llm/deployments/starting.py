"""Starts a server that goes on when its starter ends."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from server.errors import ModelLoadError
from server.llm.deployments import registry
from server.llm.deployments.deployment_client import DeploymentClient

__all__ = ["serve"]

# Where our own packages are, for a child of a program that runs from a checkout.
PACKAGES = str(Path(__file__).resolve().parents[3])
LOG_CHARACTERS = 2000
POLL_S = 0.05
# The URL, and how many models can serve.
READY = re.compile(r"Serving on (https?://\S+).*\((\d+) of ")


def serve(
    model: str | Path,
    *,
    deployment_name: str | None = None,
    replica_num: int = 1,
    restful_api_host: str = "127.0.0.1",
    restful_api_port: int = 0,
    flags: Sequence[str] = (),
) -> DeploymentClient:
    """Start a server for a model, and wait until it can answer; returns a client of it.

    It goes on when this process ends: `client(deployment_name)` finds it from any process of the
    same user, until `terminate_server`. `model` is what `server` takes: a folder, "tiny_chat", or a
    Hugging Face id, which is exported first. `deployment_name` is also the name of the model in the
    API; by default it is the last part of `model`. Port 0 takes a free one. `flags` are further
    ones of `server`.

    Raises ModelLoadError with the end of its log if it cannot start, ValueError for a name in use.
    """
    name = deployment_name or Path(model).name
    with registry.reserved(name):
        if registry.find(name) is not None:
            raise ValueError(f"a deployment {name!r} runs; client({name!r}) reaches it")
        address = ("--rest_bind_address", restful_api_host, "--rest_port", str(restful_api_port))
        replicas = () if replica_num == 1 else ("--replicas", str(replica_num))
        return DeploymentClient(_start(name, str(model), [*address, *replicas, *flags]))


def _start(name: str, model: str, flags: Sequence[str]) -> registry.Deployment:
    command = [sys.executable, "-P", "-m", "server", model, "--model_name", name, *flags]
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
    with registry.log_file(name).open("w") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            # Not a pipe: nobody reads what nodes print later, and an export before the start.
            stdout=log,
            stderr=log,
            # Else Ctrl-C and the end of the terminal would stop it, too.
            start_new_session=True,
        )
    try:
        return _register(name, process)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _register(name: str, process: subprocess.Popen[bytes]) -> registry.Deployment:
    log = registry.log_file(name)
    ready = _wait_until_ready(log, process)
    if ready is None or ready[2] == "0":
        text = log.read_text(errors="replace")[-LOG_CHARACTERS:]
        raise ModelLoadError(f"deployment {name!r} did not start; the end of {log}:\n{text}")
    start_time = registry.process_start_time(process.pid)
    assert start_time is not None
    url = ready[1].replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    deployment = registry.Deployment(name, url, process.pid, start_time)
    registry.save(deployment)
    # It is not ours to wait for; without this, Python warns of a process that still runs.
    process.returncode = 0
    return deployment


def _wait_until_ready(log: Path, process: subprocess.Popen[bytes]) -> re.Match[str] | None:
    """The line that says that the server is ready; None if it has ended."""
    with log.open(errors="replace") as text:
        said = ""
        while True:
            has_ended = process.poll() is not None
            said += text.read()
            if (found := READY.search(said)) is not None or has_ended:
                return found
            said = said.rpartition("\n")[2]
            time.sleep(POLL_S)
