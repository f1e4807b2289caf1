"""Hostile texts in every place that takes one, hostile names, hostile chat templates."""

import asyncio
import json
from urllib.parse import quote

from hostile.fuzz import NAMES, SECRETS, TEXTS
from hostile.repository import TEMPLATES
from hostile.samples import NAME_PATHS, SAMPLES
from hostile.target import Target

__all__ = ["CASES"]

TEXT_PATHS = {
    "/v3/chat/completions": ("messages", 0, "content"),
    "/v3/completions": ("prompt",),
    "/v3/responses": ("input",),
    "/v3/messages": ("messages", 0, "content"),
    "/v3/embeddings": ("input",),
    "/v3/rerank": ("query",),
    "/score": ("text_2",),
    "/tokenize": ("prompt",),
}


async def texts(target: Target) -> None:
    for path, (key, *inner) in TEXT_PATHS.items():
        for text in TEXTS:
            value = [{"role": "user", inner[-1]: text}] if inner else text
            await target.post(path, {**SAMPLES[path], key: value})
        for raw in (b'"\\ud83e"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xff\xfe"', b'"\t\n"'):
            body = json.dumps({**SAMPLES[path], key: "MARK"}).encode().replace(b'"MARK"', raw)
            await target.post(path, body)


async def names(target: Target) -> None:
    for name in NAMES:
        for pattern in NAME_PATHS:
            path = pattern.format(quote(name, safe="/%"))
            for method in ("GET", "POST"):
                start = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                await target.raw(f"{start}Content-Length: 2\r\n\r\n{{}}".encode())
        for path, body in SAMPLES.items():
            _, answer = await target.post(path, {**body, "model": name})
            leaked = any(secret in answer for secret in SECRETS)
            target.expect(not leaked, f"{path} with model {name!r} shows a file")


async def templates(target: Target) -> None:
    async def ask(content: str) -> None:
        message = {"role": "user", "content": content}
        body = {"model": "templated", "messages": [message], "max_tokens": 1}
        _, answer = await target.post("/v3/chat/completions", body)
        target.expect(b"uid=" not in answer, f"template {content}: a command ran")

    for name in TEMPLATES:
        await ask(name)
    await asyncio.gather(*[ask("loops") for _ in range(8)])


async def injected_names(target: Target) -> None:
    """Texts that become part of a header, a log line or an event."""
    for text in ("a\r\nX-Injected: 1", "a\nb", "\x1b[31m", "ü", "a" * 5000):
        body = {**SAMPLES["/v3/chat/completions"], "unknown_" + text: 1}
        await target.post("/v3/chat/completions", body)
        safe = text.encode().replace(b"\r", b"").replace(b"\n", b"")
        header = b"X-Request-Id: " + safe
        start = b"GET /v3/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        await target.raw(start + header + b"\r\n\r\n")
        await target.raw(start + b"Origin: http://" + safe + b"\r\n\r\n")


CASES = {
    "Unicode in every text": texts,
    "paths as names": names,
    "text for headers and logs": injected_names,
    "hostile chat templates": templates,
}
