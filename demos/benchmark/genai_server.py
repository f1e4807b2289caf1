"""A thin HTTP server on openvino-genai's ContinuousBatchingPipeline, to measure it as a server.

Streams completions of token ids, as token ids: text would cost the pipeline time. The pipeline has
a process of its own, because its `step` holds Python's lock: sockets would stand still meanwhile.
"""

import argparse
import asyncio
import json
import multiprocessing
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aiohttp import web

# A request on its way to the pipeline: number, token ids, max_tokens. On the way back: number and
# new token ids of each request that a step moved on; None as the ids says that it failed.
Request = tuple[int, list[int], int]
NewTokens = list[tuple[int, list[int] | None]]


@dataclass(frozen=True)
class GenaiSettings:
    """What the pipeline is made with."""

    model_path: str
    plugin_config: Mapping[str, Any]
    max_num_batched_tokens: int
    max_num_seqs: int
    cache_size_gb: int


def load_pipeline(settings: GenaiSettings) -> Any:
    """Load the model as OVMS does, with its prefix cache and chunked prompts."""
    import openvino_genai  # type: ignore[import-untyped]  # it has no stubs

    scheduler_config = openvino_genai.SchedulerConfig()
    scheduler_config.max_num_batched_tokens = settings.max_num_batched_tokens
    scheduler_config.max_num_seqs = settings.max_num_seqs
    scheduler_config.cache_size = settings.cache_size_gb
    scheduler_config.dynamic_split_fuse = True
    scheduler_config.enable_prefix_caching = True
    return openvino_genai.ContinuousBatchingPipeline(
        settings.model_path, scheduler_config, "CPU", dict(settings.plugin_config)
    )


class PipelineLoop:
    """Steps the pipeline while it has requests; takes new ones between steps."""

    def __init__(self, pipeline: Any, connection: Connection) -> None:
        self._pipeline = pipeline
        self._connection = connection
        # The handle, and the number of tokens still to come.
        self._running: dict[int, tuple[Any, int]] = {}

    def run(self) -> None:
        """Work until the other end closes the connection."""
        while True:
            try:
                while not self._running or self._connection.poll():
                    self._add(self._connection.recv())
            except EOFError:
                return
            self._pipeline.step()
            self._connection.send(self._collect())

    def _add(self, request: Request) -> None:
        import numpy as np
        import openvino
        import openvino_genai

        number, token_ids, max_tokens = request
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = max_tokens
        config.ignore_eos = True
        config.do_sample = False
        prompt = openvino.Tensor(np.array([token_ids], dtype=np.int64))
        handle = self._pipeline.add_request(number, prompt, config)
        self._running[number] = (handle, max_tokens)

    def _collect(self) -> NewTokens:
        new_tokens: NewTokens = []
        for number, (handle, num_left) in list(self._running.items()):
            token_ids = _read_token_ids(handle)
            if token_ids:
                new_tokens.append((number, token_ids))
            self._running[number] = (handle, num_left - len(token_ids))
            if num_left <= len(token_ids):
                del self._running[number]
        if self._running and not self._pipeline.has_non_finished_requests():
            # The pipeline gave up on these, for example because they are too long for its cache.
            new_tokens += [(number, None) for number in self._running]
            self._running.clear()
        return new_tokens


def _read_token_ids(handle: Any) -> list[int]:
    token_ids: list[int] = []
    while handle.can_read():
        for output in handle.read().values():
            token_ids += output.generated_ids
    return token_ids


def run_pipeline(settings: GenaiSettings, connection: Connection) -> None:
    """The process of the pipeline."""
    # Ctrl-C and SIGTERM are for the HTTP process, which closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipeline = load_pipeline(settings)
    connection.send("loaded")
    PipelineLoop(pipeline, connection).run()


class CompletionsHandler:
    """POST completions: passes requests to the pipeline and its tokens to the clients."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._queues: dict[int, asyncio.Queue[list[int] | None]] = {}
        self._num_requests = 0

    def receive(self) -> None:
        """Hand the tokens of one step to the requests that wait for them."""
        new_tokens: NewTokens = self._connection.recv()
        for number, token_ids in new_tokens:
            if number in self._queues:
                self._queues[number].put_nowait(token_ids)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream one completion."""
        body = await request.json()
        number = self._num_requests
        self._num_requests += 1
        self._queues[number] = asyncio.Queue()
        self._connection.send((number, body["prompt"], body["max_tokens"]))
        try:
            return await self._stream(request, number, body["max_tokens"])
        finally:
            del self._queues[number]

    async def _stream(
        self, request: web.Request, number: int, max_tokens: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        num_tokens = 0
        while num_tokens < max_tokens:
            token_ids = await self._queues[number].get()
            if token_ids is None:
                await response.write(_event({"error": "the pipeline gave the request up"}))
                return response
            num_tokens += len(token_ids)
            choice = {"index": 0, "text": "", "token_ids": token_ids}
            await response.write(_event({"choices": [choice]}))
        usage = {"completion_tokens": num_tokens}
        await response.write(_event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        return response


def _event(members: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(members, separators=(",", ":")).encode() + b"\n\n"


async def serve(connection: Connection, port: int) -> None:
    """Answer until SIGTERM or the end of the pipeline's process."""
    handler = CompletionsHandler(connection)
    is_over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, is_over.set)

    def receive() -> None:
        try:
            handler.receive()
        except EOFError:
            loop.remove_reader(connection.fileno())
            is_over.set()

    loop.add_reader(connection.fileno(), receive)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/completions", handler.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await is_over.wait()
    await runner.cleanup()


def main() -> None:
    """Start the pipeline's process, and serve when the model is loaded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", type=Path, required=True, help="a file of GenaiSettings")
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    settings = GenaiSettings(**json.loads(args.settings.read_text()))
    # Not fork: the pipeline starts threads, and would inherit this process's end of the connection.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=run_pipeline, args=(settings, there), daemon=True)
    process.start()
    there.close()
    try:
        here.recv()
    except EOFError:
        raise SystemExit("the pipeline did not load; the reason is printed above") from None
    asyncio.run(serve(here, args.port))
    here.close()
    process.terminate()
    process.join()


if __name__ == "__main__":
    main()
