"""openvino-genai's ContinuousBatchingPipeline, stepped in a process of its own.

Run as a script this file is that process: one JSON line with the settings on standard input, then
one line of requests per round; every line is answered by one on standard output.
"""

import asyncio
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contender import BenchmarkError, EngineSettings, RequestTiming, stop_process
from workload import BenchmarkRequest

# A line holds the token times of a whole round.
MAX_LINE_BYTES = 256 * 2**20
STOP_TIMEOUT_S = 10.0


class GenaiContender:
    """The side of run.py: starts the process and passes rounds to it."""

    name = "openvino-genai"

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process; return when the model is loaded."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
            # Ctrl-C is for run.py, which then stops this process.
            start_new_session=True,
        )
        await self._exchange(dataclasses.asdict(self.settings))

    async def run_round(self, requests: Sequence[BenchmarkRequest]) -> list[RequestTiming]:
        """Run one round in the process."""
        answer = await self._exchange([dataclasses.asdict(request) for request in requests])
        return [
            RequestTiming(timing["arrival_s"], tuple(timing["token_times_s"]), timing["num_tokens"])
            for timing in answer
        ]

    async def stop(self) -> None:
        """End the process, also in the middle of a step."""
        process, self._process = self._process, None
        if process is not None:
            await stop_process(process, STOP_TIMEOUT_S)

    async def _exchange(self, message: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message, default=str).encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            line = b""
        else:
            line = await self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self.name}: its process ended; the reason is printed above")
        return json.loads(line)


def load_pipeline(settings: EngineSettings) -> Any:
    """Load the model as OVMS does, with the same limits and properties as the other contender."""
    import openvino_genai  # type: ignore[import-untyped]  # it has no stubs

    scheduler_config = openvino_genai.SchedulerConfig()
    scheduler_config.max_num_batched_tokens = settings.max_num_batched_tokens
    scheduler_config.max_num_seqs = settings.max_num_seqs
    scheduler_config.cache_size = settings.cache_size_gb
    scheduler_config.dynamic_split_fuse = True
    scheduler_config.enable_prefix_caching = True
    return openvino_genai.ContinuousBatchingPipeline(
        str(settings.model_path), scheduler_config, "CPU", dict(settings.plugin_config)
    )


def run_requests(pipeline: Any, requests: Sequence[BenchmarkRequest]) -> list[RequestTiming]:
    """Step the pipeline until every request is finished, noting when each token could be read."""
    waiting = sorted(enumerate(requests), key=lambda item: item[1].arrival_s, reverse=True)
    inputs = [_make_input(request) for request in requests]
    token_times_s: list[list[float]] = [[] for _ in requests]
    num_tokens = [0] * len(requests)
    running: dict[int, Any] = {}
    start = time.perf_counter()
    while waiting or running:
        now_s = time.perf_counter() - start
        while waiting and waiting[-1][1].arrival_s <= now_s:
            index, _ = waiting.pop()
            running[index] = pipeline.add_request(index, *inputs[index])
        if not running:
            time.sleep(waiting[-1][1].arrival_s - now_s)
            continue
        pipeline.step()
        now_s = time.perf_counter() - start
        for index, handle in list(running.items()):
            num_new = _read_num_tokens(handle)
            if num_new:
                token_times_s[index].append(now_s)
                num_tokens[index] += num_new
            if num_tokens[index] >= requests[index].max_tokens:
                del running[index]
        if not pipeline.has_non_finished_requests():
            # A request that the pipeline gave up on stays short; the caller counts the tokens.
            running.clear()
    return [
        RequestTiming(request.arrival_s, tuple(times_s), count)
        for request, times_s, count in zip(requests, token_times_s, num_tokens, strict=True)
    ]


def _make_input(request: BenchmarkRequest) -> tuple[Any, Any]:
    import numpy as np
    import openvino
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = request.max_tokens
    config.ignore_eos = True
    config.do_sample = False
    return openvino.Tensor(np.array([request.token_ids], dtype=np.int64)), config


def _read_num_tokens(handle: Any) -> int:
    num_tokens = 0
    while handle.can_read():
        num_tokens += sum(len(output.generated_ids) for output in handle.read().values())
    return num_tokens


def main() -> None:
    """Answer rounds until standard input ends."""
    # OpenVINO may print to standard output; the answers need it for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    fields = json.loads(sys.stdin.readline())
    settings = EngineSettings(**{**fields, "model_path": Path(fields["model_path"])})
    pipeline = load_pipeline(settings)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        requests = [BenchmarkRequest(**fields) for fields in json.loads(line)]
        timings = run_requests(pipeline, requests)
        print(json.dumps([dataclasses.asdict(timing) for timing in timings]), file=answers)
        answers.flush()


if __name__ == "__main__":
    main()
