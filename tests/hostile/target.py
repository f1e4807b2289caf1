"""The attacked server: sends requests, counts the answers by status, notes what must not be."""

import asyncio
import io
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from support.server_process import ServerProcess

__all__ = ["Target", "targeted"]

# Answers of the largest requests take this long on a busy machine.
TIMEOUT = aiohttp.ClientTimeout(total=240)
QUESTION = {
    "model": "tiny_chat",
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
    "max_tokens": 20,
}
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})")
# A full server and a gateway may say these, the first with a time to come back.
HONEST = {503, 504}


@dataclass
class Target:
    """`counts` and `faults` are those of the case that runs.

    Until `excused_until` (time.monotonic) any answer may come: the server is broken on purpose.
    """

    server: ServerProcess
    http: aiohttp.ClientSession
    key: str | None = None
    excused_until: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The HTTP port."""
        return int(self.server.url.rpartition(":")[2])

    async def post(self, path: str, body: Any, **options: Any) -> tuple[int, bytes]:
        """Status and body of the answer; 0 where the connection was cut. Bytes go as they are."""
        return await self.ask("POST", path, body, **options)

    async def ask(
        self, method: str, path: str, body: Any = b"", **options: Any
    ) -> tuple[int, bytes]:
        """The same for any method."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        where = f"{method} {path} {data[:300]!r}"
        try:
            # Large bytes as they are would draw a warning.
            body_file = io.BytesIO(data)
            async with self.http.request(method, path, data=body_file, **options) as response:
                answer = await response.read()
                self.note(response.status, response.headers, where)
                return response.status, answer
        except TimeoutError:
            self.counts["timeout"] += 1
            self.faults.append(f"no answer in {TIMEOUT.total} s: {where}")
        except (aiohttp.ClientError, ValueError, UnicodeError):
            self.counts["cut"] += 1
        return 0, b""

    async def raw(self, data: bytes, *, half_close: bool = False, wait_s: float = 3) -> list[int]:
        """Send bytes on a connection of their own; the statuses of all answers to them."""
        answer = b""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(wait_s), self.connection() as (reader, writer):
                writer.write(data)
                await writer.drain()
                if half_close:
                    writer.write_eof()
                while piece := await reader.read(65536):
                    answer += piece
        statuses = [int(status) for status in STATUS_LINE.findall(answer)]
        for status in statuses:
            # The headers of raw answers are part of the bytes.
            self.note(status, {"Retry-After": "0"} if b"etry-After" in answer else {}, repr(data))
        if not statuses:
            self.counts["silent"] += 1
        return statuses

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """An open connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def note(self, status: int, headers: Mapping[str, str], where: str) -> None:
        """Count an answer; one that accuses the server itself is a fault."""
        self.counts[str(status)] += 1
        is_fault = status >= 500 and status not in HONEST
        self.expect(not is_fault, f"status {status}: {where[:500]}")
        is_vague = status in {429, 503} and "Retry-After" not in headers
        self.expect(not is_vague, f"status {status} without Retry-After: {where[:500]}")

    def expect(self, is_true: bool, problem: str) -> None:
        """Note a fault unless something is true."""
        if not is_true and time.monotonic() > self.excused_until:
            self.faults.append(problem)

    async def check_chat(self, within_s: float = 60) -> float:
        """Ask until a plain question is answered rightly; the seconds that took."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        found = ""
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        while loop.time() < start + within_s and self.server.process.poll() is None:
            try:
                request = self.http.post("/v3/chat/completions", json=QUESTION, headers=headers)
                async with asyncio.timeout(within_s), request as response:
                    found = await response.text()
                    if response.status == 200 and "Paris" in found:
                        return loop.time() - start
            except (TimeoutError, aiohttp.ClientError) as error:
                found = repr(error)
            await asyncio.sleep(0.2)
        self.faults.append(f"a plain question is not answered afterwards: {found[:300]}")
        return within_s


@asynccontextmanager
async def targeted(server: ServerProcess, key: str | None = None) -> AsyncIterator[Target]:
    """Attack a running server."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=TIMEOUT) as session:
        yield Target(server, session, key)
