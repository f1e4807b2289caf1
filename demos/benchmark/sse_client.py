"""A load generator that costs next to nothing while it measures.

It shares the processor with the server, so during a round it only keeps what arrives together with
the time; HTTP, SSE and JSON are looked at when the round is over.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from contender import BenchmarkError, RequestTiming
from workload import BenchmarkRequest

ENDPOINT = "/v3/completions"
# Bytes of one read and the time.perf_counter() value at which they were there.
Read = tuple[float, bytes]


class SseParser:
    """Cuts one HTTP/1.1 answer into the payloads of its SSE events, however it was split up."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""
        self._raw = b""
        self._is_chunked = False
        self._num_parsed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the answer; return the payloads of the events that ended."""
        self._raw += data
        if self.status is None and not self._take_head():
            return []
        if self._is_chunked:
            self._take_chunks()
        else:
            self.body += self._raw
            self._raw = b""
        return self._take_events()

    def _take_head(self) -> bool:
        head, separator, rest = self._raw.partition(b"\r\n\r\n")
        if not separator:
            return False
        self.status = int(head.split(b" ", 2)[1])
        self._is_chunked = b"transfer-encoding: chunked" in head.lower()
        self._raw = rest
        return True

    def _take_chunks(self) -> None:
        while (end_of_size := self._raw.find(b"\r\n")) >= 0:
            start = end_of_size + 2
            end = start + int(self._raw[:end_of_size].split(b";")[0], 16)
            if end == start or len(self._raw) < end + 2:
                return
            self.body += self._raw[start:end]
            self._raw = self._raw[end + 2 :]

    def _take_events(self) -> list[bytes]:
        end = self.body.rfind(b"\n\n")
        if end < self._num_parsed:
            return []
        events = self.body[self._num_parsed : end].split(b"\n\n")
        self._num_parsed = end + 2
        return [event[len(b"data: ") :] for event in events if event.startswith(b"data: ")]


class _Connection(asyncio.Protocol):
    """One request on a connection of its own; the server closes it after the answer."""

    def __init__(self, request: bytes) -> None:
        self.reads: list[Read] = []
        self.is_closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.reads.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_closed.done():
            return
        if exc is None:
            self.is_closed.set_result(None)
        else:
            self.is_closed.set_exception(exc)


async def run_requests(
    host: str, port: int, model: str, requests: Sequence[BenchmarkRequest]
) -> list[RequestTiming]:
    """Send every request at its time and return when all answers are complete."""
    messages = [_render_request(host, port, model, request) for request in requests]
    start = time.perf_counter()
    answers = await asyncio.gather(
        *(
            _send(host, port, message, start + request.arrival_s)
            for message, request in zip(messages, requests, strict=True)
        )
    )
    return [
        read_timing(reads, request, start) for reads, request in zip(answers, requests, strict=True)
    ]


async def _send(host: str, port: int, message: bytes, when: float) -> list[Read]:
    await asyncio.sleep(max(0.0, when - time.perf_counter()))
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(lambda: _Connection(message), host, port)
    try:
        await connection.is_closed
    finally:
        transport.close()
    return connection.reads


def _render_request(host: str, port: int, model: str, request: BenchmarkRequest) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "prompt": request.token_ids,
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        f"POST {ENDPOINT} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def read_timing(reads: Sequence[Read], request: BenchmarkRequest, start: float) -> RequestTiming:
    """Turn what one connection received into the times at which text came.

    Raises BenchmarkError for an HTTP error, an error event, and an answer without usage or text.
    """
    parser = SseParser()
    token_times_s = []
    num_tokens = None
    for read_time, data in reads:
        for payload in parser.feed(data):
            if payload == b"[DONE]":
                continue
            event = json.loads(payload)
            if "error" in event:
                raise BenchmarkError(f"{ENDPOINT}: error event {event['error']}")
            if _has_text(event):
                token_times_s.append(read_time - start)
            if usage := event.get("usage"):
                num_tokens = int(usage["completion_tokens"])
    if parser.status != 200 or num_tokens is None or not token_times_s:
        raise BenchmarkError(
            f"{ENDPOINT}: HTTP status {parser.status} and not a complete stream with text and "
            f"usage: ...{parser.body[-500:].decode(errors='replace')}"
        )
    return RequestTiming(request.arrival_s, tuple(token_times_s), num_tokens)


def _has_text(event: dict[str, Any]) -> bool:
    return any(choice.get("text") for choice in event.get("choices", ()))
