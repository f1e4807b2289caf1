"""One replica, as the front sees it: how to ask it, whether it answers, and what it has to do."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from server.api.replicas.prefix_index import PrefixIndex
from server.api.replicas.replica_state import ReplicaState, state_of
from server.api.replicas.unix_connector import PatientUnixConnector
from server.host.metrics import gauge

__all__ = ["Backend", "Work"]

logger = logging.getLogger(__name__)

READY = gauge("front:replica_ready", "1 where a replica serves every model", "replica")

POLL_INTERVAL_S = 0.5
# Until it has loaded its models: others wait for it.
START_INTERVAL_S = 0.1
POLL_TIMEOUT_S = 5.0
# A single one may be the fault of a busy machine.
MAX_TIMEOUTS = 2
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
    answer. `has_loaded` says whether its first load is over, however it went. Only `watch` and
    `lose` write them. `prepare` is called before a replica counts as loaded. `work` is what it has
    been given and has not answered.
    """

    def __init__(self, number: int, socket_path: Path, grpc_socket: Path | None = None) -> None:
        self.number = number
        self.socket_path = socket_path
        self.grpc_socket = grpc_socket
        self.prefixes = PrefixIndex()
        self.work: list[Work] = []
        self.num_requests = 0
        self.num_ended = 0
        self.unready: Mapping[str, str] | None = None
        self.has_loaded = False
        self.prepare: Callable[[], Awaitable[None]] | None = None
        self.problem = "it is starting"
        self.answered_s = time.monotonic()
        self._num_timeouts = 0
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
        return self.answers and self.has_loaded and model not in (self.unready or {})

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
            self.num_ended += 1

    @property
    def session(self) -> aiohttp.ClientSession:
        """Its connections."""
        if self._session is None:
            connector = PatientUnixConnector(
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
        self._note_silence(problem)
        self.problem = problem
        self.prefixes.clear()

    async def watch(self, headers: Mapping[str, str]) -> None:
        """Ask again and again whether it is ready, until cancelled."""
        ready = READY.labels(str(self.number))
        ready.set_function(lambda: float(self.is_ready))
        while True:
            await self._look(headers)
            await asyncio.sleep(POLL_INTERVAL_S if self.has_loaded else START_INTERVAL_S)

    async def _look(self, headers: Mapping[str, str]) -> None:
        """Ask once whether it is ready."""
        timeout = aiohttp.ClientTimeout(total=POLL_TIMEOUT_S)
        url = "http://replica/v2/health/ready"
        try:
            async with self.session.get(url, headers=headers, timeout=timeout) as answer:
                told = await answer.read()
        except TimeoutError:
            self._num_timeouts += 1
            if self._num_timeouts >= MAX_TIMEOUTS:
                silent_s = time.monotonic() - self.answered_s
                self._note_silence(f"it has not answered for {silent_s:.0f} s")
            return
        except (aiohttp.ClientError, OSError) as error:
            # Without the path of its socket, which is no client's business.
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self._note_silence(f"it cannot be reached: {reason or type(error).__name__}")
            return
        self._num_timeouts = 0
        self.answered_s = time.monotonic()
        try:
            state = state_of(answer.headers)
            if state is ReplicaState.SERVING and not self.has_loaded and self.prepare is not None:
                await self.prepare()
            self._note(answer.status, state, told)
        except (ValueError, TypeError, KeyError) as error:
            if self.unready is not None:
                logger.error("%s: cannot read what it answered a probe: %r", self.name, error)
            self._note_silence(f"it answered a probe with status {answer.status}, and not how")

    def _note(self, status: int, state: ReplicaState, body: bytes) -> None:
        """Note what it has told. Raises ValueError, TypeError or KeyError for something strange."""
        problem, models = "", {}
        if status == 503:
            told = json.loads(body)
            problem, models = str(told["error"]), dict(told["models"])
        elif status != 200:
            raise ValueError(f"status {status}")
        self.has_loaded = state is not ReplicaState.LOADING
        self.problem = problem
        self.unready = None if state is ReplicaState.STOPPING else models

    def _note_silence(self, problem: str) -> None:
        """Note that it does not answer; an earlier reason stays, as it is nearer to the cause."""
        if self.unready is not None:
            self.problem = problem
        self.unready, self.has_loaded = None, False
