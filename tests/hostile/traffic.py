"""The mixed traffic of the soak: honest clients, rude ones, and an operator."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from hostile.fuzz import Fuzzer
from hostile.target import Target

__all__ = ["Traffic"]

STORY = "Tell me a story about a fox."
TOOL = {"name": "get_weather", "parameters": {"properties": {"city": {"type": "string"}}}}
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
NUM_CLIENTS = 6
CHANGED_MODELS = ("tiny_chat", "small")
# Between two changes of the operator; a reload loads a model, which is most of the work here.
OPERATOR_S = 5.0
# Names of tests/faults/faulty_server.py, and how often or how many seconds. What hangs for ever
# keeps its thread and its memory, and is no part of this.
FAULTS = [
    ("step_fails", "3"),
    ("step_hangs", "2"),
    ("step_has_no_memory", "1"),
    ("request_exits", "1"),
    ("engine_thread_dies", "1"),
    ("batch_fails", "2"),
    ("batch_exits", "1"),
    ("inference_exits", "1"),
    ("read_fails", "3"),
    ("loop_stalls", "0.5"),
]
RECOVERY_S = 90.0


class Traffic:
    """Sends requests of each kind until it is cancelled; wrong answers are faults of the target."""

    def __init__(
        self, target: Target, config: Path, faults: Path, fields: dict[str, list[str]], seed: int
    ) -> None:
        self._target = target
        self._config = config
        self._faults = faults
        self._fuzzer = Fuzzer(target, fields, seed)
        self._rng = random.Random(seed)
        self._kinds: list[Callable[[], Awaitable[None]]] = [
            self._ask_chat,
            self._stream,
            self._leave,
            self._embed,
            self._rank,
            self._call_tool,
            self._constrain,
            self._infer,
            self._send_wrong,
        ]

    async def run(self, seconds: float) -> None:
        """Clients and the operator, for so long."""
        clients = [self._repeat(self._any) for _ in range(NUM_CLIENTS)]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*clients, self._repeat(self._operate))
        # Those that nothing has met would be there after the time for which they are excused.
        for file in self._faults.iterdir():
            file.unlink(missing_ok=True)

    async def warm_up(self) -> None:
        """Have at once all graphs that can be in memory together: their threads stay in pools."""
        changed = [self._change_file(name) for name in CHANGED_MODELS]
        await asyncio.gather(*changed, self._change_list(), self._stream())

    async def ask_each(self) -> None:
        """One request of each kind: a model that was just loaded starts threads for the first."""
        for ask in self._kinds:
            await ask()

    async def _repeat(self, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except (aiohttp.ClientError, TimeoutError) as error:
                self._target.expect(False, f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.5)

    async def _any(self) -> None:
        await self._rng.choice(self._kinds)()

    def _chat(self, content: str, **fields: Any) -> dict[str, Any]:
        message = {"role": "user", "content": content}
        return {"model": "tiny_chat", "messages": [message], "temperature": 0, **fields}

    async def _ok(self, path: str, body: dict[str, Any], wanted: bytes) -> None:
        status, answer = await self._target.post(path, body)
        if status not in {503, 429}:
            found = f"{path}: {status} {answer[:200]!r}"
            self._target.expect(status == 200 and wanted in answer, found)

    async def _ask_chat(self) -> None:
        question = self._chat("What is the capital of France?", max_tokens=20)
        await self._ok("/v3/chat/completions", question, b"Paris")

    async def _stream(self) -> None:
        body = self._chat(STORY, max_tokens=100, stream=True)
        await self._ok("/v3/chat/completions", body, b"[DONE]")

    async def _leave(self) -> None:
        """Read a part of a stream, or none, and go."""
        body = self._chat(STORY, max_tokens=400, ignore_eos=True, stream=True)
        asked = self._target.http.post("/v3/chat/completions", json=body)
        async with asked as response:
            for _ in range(self._rng.randrange(10)):
                await response.content.readline()
            response.close()
        self._target.counts["left"] += 1

    async def _embed(self) -> None:
        texts = ["a cow says moo"] * self._rng.randrange(1, 20)
        await self._ok("/v3/embeddings", {"model": "embedder", "input": texts}, b"embedding")

    async def _rank(self) -> None:
        body = {"model": "reranker", "query": "cow", "documents": ["moo", "rain"]}
        await self._ok("/v3/rerank", body, b"relevance_score")

    async def _call_tool(self) -> None:
        tools = [{"type": "function", "function": TOOL}]
        body = self._chat("Weather in Rome?", tools=tools, tool_choice="required", max_tokens=60)
        await self._ok("/v3/chat/completions", body, b"choices")

    async def _constrain(self) -> None:
        format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        body = self._chat("A number", response_format=format_, max_tokens=30)
        await self._ok("/v3/chat/completions", body, b"choices")

    async def _infer(self) -> None:
        tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}
        await self._ok("/v2/models/half/infer", {"inputs": [tensor]}, b"3.5")

    async def _send_wrong(self) -> None:
        await self._fuzzer.run(10)

    async def _operate(self) -> None:
        """Reload, touch and change files, and list one model more or less."""
        await asyncio.sleep(OPERATOR_S)
        acts = [self._reload, self._touch, self._change_list, self._hang_up, self._cause_fault]
        change = partial(self._change_file, self._rng.choice(CHANGED_MODELS))
        await self._rng.choice([*acts, change])()

    async def _cause_fault(self) -> None:
        """Break something, and let everybody fail until the server has recovered."""
        name, amount = self._rng.choice(FAULTS)
        self._target.excused_until = time.monotonic() + RECOVERY_S
        (self._faults / name).write_text(amount)
        end = time.monotonic() + RECOVERY_S / 2
        # Until the traffic has met it.
        while (self._faults / name).exists() and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        (self._faults / name).unlink(missing_ok=True)
        await self._target.check_chat(RECOVERY_S / 2)
        # Requests that began before the recovery end a little later.
        self._target.excused_until = time.monotonic() + 5

    async def _reload(self) -> None:
        status, answer = await self._target.post("/v1/config/reload", {})
        self._target.expect(status in {200, 201}, f"reload: {status} {answer[:300]!r}")

    async def _touch(self) -> None:
        os.utime(self._config.parent / "tiny_chat" / "graph.pbtxt")

    async def _change_file(self, model: str) -> None:
        """A change that makes the server load the model again beside the old one."""
        graph = self._config.parent / model / "graph.pbtxt"
        text = graph.read_text()
        graph.write_text(text.removesuffix("# changed\n") + "# changed\n" * ("#" not in text))
        await self._reload()

    async def _change_list(self) -> None:
        document = json.loads(self._config.read_text())
        models = document["model_config_list"]
        named = [entry for entry in models if entry["config"]["name"] != "again"]
        if len(named) == len(models):
            bundled = next(e["config"] for e in models if e["config"]["name"] == "embedder")
            named.append({"config": {**bundled, "name": "again"}})
        self._config.write_text(json.dumps({"model_config_list": named}))
        await self._reload()

    async def _hang_up(self) -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            self._target.server.process.send_signal(number)
