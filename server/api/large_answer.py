"""Answers that may be large: written in short slices, between which the event loop works."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

__all__ = ["json_response", "response_of"]

Buffer = bytes | bytearray | memoryview

SLICE_S = 0.005
"""So long the pieces of one answer are made before others get their turn."""

WRITTEN_BYTES = 2**18
"""A larger body is never joined, but handed to the socket in parts of about this size."""


async def json_response(pieces: Iterable[bytes]) -> web.Response:
    """Answer with JSON. The pieces are made in slices, so each must take a few milliseconds.

    Whatever making them raises is raised before anything is sent.
    """
    found: list[bytes] = []
    small: list[bytes] = []
    end = perf_counter() + SLICE_S
    for piece in pieces:
        small.append(piece)
        if perf_counter() >= end:
            found.append(b"".join(small))
            small = []
            await asyncio.sleep(0)
            end = perf_counter() + SLICE_S
    return response_of([*found, *small], "application/json")


def response_of(
    pieces: Sequence[Buffer], content_type: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with the pieces one after the other."""
    size = sum(map(len, pieces))
    body = b"".join(pieces) if size <= WRITTEN_BYTES else _Pieces(pieces, size)
    return web.Response(body=body, content_type=content_type, headers=headers)


class _Pieces(Payload):
    """A body in pieces, of `size` bytes together."""

    def __init__(self, pieces: Sequence[Buffer], size: int) -> None:
        super().__init__(pieces)
        self._size = size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        small: list[Buffer] = []
        num_bytes = 0
        for piece in self._value:
            for start in range(0, len(piece), WRITTEN_BYTES):
                part = memoryview(piece)[start : start + WRITTEN_BYTES]
                small.append(part)
                num_bytes += len(part)
                if num_bytes >= WRITTEN_BYTES:
                    await writer.write(b"".join(small))
                    small, num_bytes = [], 0
                    # The socket may take all of it at once.
                    await asyncio.sleep(0)
        await writer.write(b"".join(small))
