"""This project's server as users run it: a real process, a config.json, and HTTP.

The load generator runs in the process of run.py, on the same cores as the server, so these figures
pay for HTTP, for text and for the client; openvino-genai's pay for none of them.
"""

import asyncio
import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from contender import BenchmarkError, EngineSettings, RequestTiming, stop_process
from sse_client import run_requests
from workload import BenchmarkRequest

from export_models.graph_text import TextGenerationGraph

HOST = "127.0.0.1"
MODEL_NAME = "benchmark"
READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 30.0
REPOSITORY = Path(__file__).resolve().parents[2]
ENGINE_STATS = re.compile(r"engine stats: (\{.*\})")


@dataclass(frozen=True)
class StepStats:
    """What the engine counted from its start to its end."""

    num_steps: int
    step_s: float
    infer_s: float
    schedule_s: float
    sample_s: float
    tokens: int

    @property
    def host_ms_per_step(self) -> float:
        """Milliseconds of an average step in which the model does not run."""
        return 1000 * (self.step_s - self.infer_s) / max(1, self.num_steps)

    @property
    def host_share(self) -> float:
        """The part of all step time in which the model does not run, from 0 to 1."""
        return (self.step_s - self.infer_s) / self.step_s if self.step_s else 0.0


def write_repository(folder: Path, settings: EngineSettings) -> Path:
    """Write graph.pbtxt and config.json that serve the model where it is; return config.json."""
    graph = TextGenerationGraph(
        models_path=str(settings.model_path.resolve()),
        plugin_config=settings.plugin_config,
        cache_size=settings.cache_size_gb,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        max_num_seqs=settings.max_num_seqs,
    )
    (folder / "graph.pbtxt").write_text(graph.text())
    config = {
        "model_config_list": [],
        "mediapipe_config_list": [{"name": MODEL_NAME, "base_path": str(folder)}],
    }
    config_path = folder / "config.json"
    config_path.write_text(json.dumps(config))
    return config_path


def parse_step_stats(log: str) -> StepStats | None:
    """Find the last `engine stats: {...}` line of a server's log."""
    matches = ENGINE_STATS.findall(log)
    if not matches:
        return None
    fields = json.loads(matches[-1])
    return StepStats(**{name: fields[name] for name in StepStats.__dataclass_fields__})


class ServerContender:
    """One server process on a free port of the loopback interface."""

    name = "server"

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._log_path = Path()
        self._port = 0
        self.step_stats: StepStats | None = None

    async def start(self) -> None:
        """Start the server; return when it says that it is ready."""
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        self._log_path = Path(self._folder.name) / "server.log"
        config_path = write_repository(Path(self._folder.name), self._settings)
        self._port = _find_free_port()
        with self._log_path.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "server", "--config_path", str(config_path)),
                *("--rest_bind_address", HOST, "--rest_port", str(self._port)),
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                # Ctrl-C is for run.py, which then stops the server.
                start_new_session=True,
            )
        await self._wait_until_ready()

    async def run_round(self, requests: Sequence[BenchmarkRequest]) -> list[RequestTiming]:
        """Stream all requests over HTTP."""
        try:
            return await run_requests(HOST, self._port, MODEL_NAME, requests)
        except (OSError, BenchmarkError) as error:
            raise BenchmarkError(f"{self.name}: {error}\n{self._read_log_end()}") from error

    async def stop(self) -> None:
        """End the server and read what its engine counted."""
        process, self._process = self._process, None
        if process is not None:
            await stop_process(process, STOP_TIMEOUT_S)
            self.step_stats = parse_step_stats(self._log_path.read_text(errors="replace"))
        if self._folder is not None:
            self._folder.cleanup()

    async def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        url = f"http://{HOST}:{self._port}/v2/health/ready"
        async with aiohttp.ClientSession() as session:
            while not await _is_ready(session, url):
                if self._process.returncode is not None or time.monotonic() > deadline:
                    raise BenchmarkError(
                        f"{self.name}: not ready (exit code {self._process.returncode})\n"
                        f"{self._read_log_end()}"
                    )
                await asyncio.sleep(0.2)

    def _read_log_end(self) -> str:
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-20:])


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
