"""One replica, as the front sees it: how to ask it, whether it answers, and what it has to do."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from server.api.replicas.prefix_index import PrefixIndex
from server.host.metrics import gauge
from server.models.model_manager import SHUTTING_DOWN

__all__ = ["Backend", "Work"]

READY = gauge("front:replica_ready", "1 where a replica serves every model", "replica")

POLL_INTERVAL_S = 0.5
POLL_TIMEOUT_S = 5.0
# Below the time after which a replica would close an idle connection, if it ever did.
KEEP_ALIVE_S = 15.0
MAX_ANSWER_HEADER = 2**17
# How many tokens of a prompt take a replica as long as one more answer beside the others does.
TOKENS_PER_REQUEST = 256


@dataclass(slots=True)
class Work:
    """A request that a replica works on. `num_tokens` of its prompt have not been read yet."""

    num_tokens: int
    end: asyncio.Event = field(default_factory=asyncio.Event)


class Backend:
    """A replica that listens on a Unix socket, and on another one for gRPC.

    `unready` has the models that it cannot serve now, with the reasons; None while it does not
    answer. `work` is what it has been given and has not answered.
    """

    def __init__(self, number: int, socket_path: Path, grpc_socket: Path | None = None) -> None:
        self.number = number
        self.socket_path = socket_path
        self.grpc_socket = grpc_socket
        self.prefixes = PrefixIndex()
        self.work: list[Work] = []
        self.num_requests = 0
        self.unready: Mapping[str, str] | None = None
        self.problem = "it is starting"
        self.answered_s = time.monotonic()
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"replica {self.number}"

    @property
    def answers(self) -> bool:
        """Whether it can be asked at all."""
        return self.unready is not None

    @property
    def is_ready(self) -> bool:
        """Whether it serves every model that it should."""
        return self.unready is not None and not self.unready and not self.problem

    def can_serve(self, model: str) -> bool:
        """Whether it may serve a model; one that it does not know it refuses itself."""
        return self.answers and not self._is_loading and model not in (self.unready or {})

    @property
    def _is_loading(self) -> bool:
        """Whether it loads all models, as it was started a moment ago."""
        return bool(self.problem) and not self.unready

    def load(self) -> int:
        """Its work, in tokens of prompts."""
        return sum(work.num_tokens + TOKENS_PER_REQUEST for work in self.work)

    @contextmanager
    def hold(self, num_tokens: int) -> Iterator[Work]:
        """Count a request while the replica works on it."""
        work = Work(num_tokens)
        self.work.append(work)
        self.num_requests += 1
        try:
            yield work
        finally:
            # `remove` would take one that is equal.
            work.end.set()
            self.work = [other for other in self.work if other is not work]

    @property
    def session(self) -> aiohttp.ClientSession:
        """Its connections."""
        if self._session is None:
            connector = aiohttp.UnixConnector(
                str(self.socket_path), limit=0, keepalive_timeout=KEEP_ALIVE_S
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),
                max_line_size=MAX_ANSWER_HEADER,
                max_field_size=MAX_ANSWER_HEADER,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def lose(self, problem: str) -> None:
        """Note that its process has ended; a new one knows no prompts."""
        self.unready = None
        self.problem = problem
        self.prefixes.clear()

    async def watch(self, headers: Mapping[str, str]) -> None:
        """Ask again and again whether it is ready, until cancelled."""
        ready = READY.labels(str(self.number))
        ready.set_function(lambda: float(self.is_ready))
        while True:
            await self.look(headers)
            await asyncio.sleep(POLL_INTERVAL_S)

    async def look(self, headers: Mapping[str, str]) -> None:
        """Ask once whether it is ready."""
        timeout = aiohttp.ClientTimeout(total=POLL_TIMEOUT_S)
        url = "http://replica/v2/health/ready"
        try:
            async with self.session.get(url, headers=headers, timeout=timeout) as answer:
                told = json.loads(await answer.read()) if answer.status == 503 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            if self.unready is not None:
                self.problem = f"it has not answered for {POLL_TIMEOUT_S:g} s"
            self.unready = None
            return
        self.answered_s = time.monotonic()
        if told is None:
            self.problem, self.unready = "", {}
            return
        self.problem = told["error"]
        self.unready = None if self.problem == SHUTTING_DOWN else told["models"]
