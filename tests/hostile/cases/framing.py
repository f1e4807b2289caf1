"""Bytes that are no HTTP, or HTTP that two readers understand differently."""

import asyncio
import random

from hostile.target import Target

__all__ = ["CASES", "FRAMES", "random_frame"]

PATH = b"/v3/chat/completions"
POST = b"POST " + PATH + b" HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

# Two readers could disagree on where these end: at most one answer may come, and it is no 200.
AMBIGUOUS = {
    "CL and TE": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two CL": POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "list of CL": POST + b"Content-Length: 0, 44\r\n\r\n",
    "CL +": POST + b"Content-Length: +0\r\n\r\n",
    "CL -": POST + b"Content-Length: -1\r\n\r\n",
    "CL hex": POST + b"Content-Length: 0x0\r\n\r\n",
    "CL _": POST + b"Content-Length: 1_0\r\n\r\n",
    "space before colon": POST + b"Content-Length : 0\r\nHost: y\r\n\r\n",
    "TE xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "TE identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
    "TE vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded header": POST + b"X: a\r\n Content-Length: 44\r\nContent-Length: 0\r\n\r\n",
    "bare CR": POST + b"X: a\rContent-Length: 44\r\n\r\n",
    "NUL": POST + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "bad chunk size": CHUNKED + b"xyz\r\n",
    "negative chunk": CHUNKED + b"-1\r\n",
    "huge chunk": CHUNKED + b"f" * 40 + b"\r\n",
    "chunk without end": CHUNKED + b"2\r\n{}XX0\r\n\r\n",
    "chunk with _": CHUNKED + b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
}
FRAMES = {
    **AMBIGUOUS,
    "chunk extension": CHUNKED + b"2;" + b"a" * 60_000 + b"=1\r\n{}\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "one byte chunks": CHUNKED + b"1\r\n \r\n" * 50_000 + b"0\r\n\r\n",
    "header flood": POST + b"X-%d: y\r\n" * 20_000 + b"\r\n",
    "long header": POST + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
    "long path": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long method": b"A" * 100_000 + b" / HTTP/1.1\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    "TLS": bytes.fromhex("1603010200010001fc0303") + b"\1" * 512,
    "no host": b"GET /v3/models HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v3/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "absolute": b"GET http://evil/v3/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "connect": b"CONNECT evil:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "trace": b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "websocket": POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c": POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "expect": POST + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    "gzip": POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\0",
    "huge CL": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "percent": b"GET /%00%ff%fe%c0%af HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bad percent": b"GET /%zz%1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "raw utf-8 path": "GET /ü\u202e\U0001f98a HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "latin path": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bad charset": POST + b"Content-Type: a/b; charset=\xff\r\nContent-Length: 2\r\n\r\n{}",
    "port": b"GET http://x:99999999/ HTTP/1.1\r\nHost: x:99999999\r\n\r\n",
    "brackets": b"GET http://[::1/ HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "query": b"GET /v3/models?" + b"a=b&" * 2000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "range": b"GET /v3/models HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-,0-,0-\r\n\r\n",
    "cookies": POST + b"Cookie: " + b'a="\\\xff;' * 500 + b"\r\n\r\n",
}


def random_frame(rng: random.Random) -> bytes:
    """Random bytes, or one of the frames with some of its bytes changed, cut or repeated."""
    if rng.random() < 0.3:
        return rng.randbytes(rng.randrange(1, 3000))
    frame = bytearray(rng.choice(list(FRAMES.values()))[:5000])
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(frame))
        frame[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(4))
        if not frame:
            return b"\0"
    return bytes(frame)


async def shapes(target: Target) -> None:
    """All at once: a server waits for the rest of some."""

    async def send(name: str, frame: bytes) -> None:
        statuses = await target.raw(frame, wait_s=2)
        target.expect(len(statuses) <= 1, f"{name}: one request got the answers {statuses}")
        target.expect(name != "TLS" or 200 not in statuses, "TLS was answered with 200")

    await asyncio.gather(*(send(name, frame) for name, frame in FRAMES.items()))


async def smuggling(target: Target) -> None:
    async def send(name: str, frame: bytes) -> None:
        statuses = await target.raw(frame + SMUGGLED, wait_s=2)
        # The smuggled request is the only one that would be answered with 200.
        target.expect(200 not in statuses, f"{name}: a smuggled request was answered: {statuses}")

    await asyncio.gather(*(send(name, frame) for name, frame in AMBIGUOUS.items()))


async def random_bytes(target: Target) -> None:
    rng = random.Random(1)
    for _ in range(300):
        await target.raw(rng.randbytes(rng.randrange(1, 20_000)), half_close=True)


CASES = {
    "broken and strange HTTP": shapes,
    "request smuggling": smuggling,
    "random bytes as HTTP": random_bytes,
}
