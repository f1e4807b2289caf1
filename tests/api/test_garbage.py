"""Requests that end, are refused or are left leave nothing for a collection of garbage."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from support.serving import Server

from server.api.request_facts import RequestFacts
from server.api.settings import HttpSettings

NUM_REQUESTS = 20


@pytest.fixture
def settings() -> HttpSettings:
    return HttpSettings(request_timeout_s=0.4)


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def num_requests() -> int:
    return sum(type(each) is RequestFacts for each in gc.get_objects())


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "a b c"},
        {"prompt": "a b c", "stream": True},
        {"prompt": 1},
        {"model": "missing"},
        {"model": "broken"},
        {"prompt": "!wait", "leave_after_s": 0.05},
        {"prompt": "a !wait", "stream": True, "leave_after_s": 0.05},
        {"prompt": "!endless"},
        {"prompt": "a !endless", "stream": True},
    ],
    ids=str,
)
@pytest.mark.usefixtures("uncollected")
async def test_a_request_is_freed(server: Server, fields: dict[str, Any]) -> None:
    body = {"model": "echo", "prompt": "a", **fields}
    timeout_s = body.pop("leave_after_s", None)

    async def ask() -> None:
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(timeout_s),
                aiohttp.ClientSession(server.url) as http,
                http.post("/v3/completions", json=body) as response,
            ):
                await response.read()

    await asyncio.gather(*(ask() for _ in range(NUM_REQUESTS)))
    await server.until_running(0)
    await asyncio.sleep(0.1)
    assert num_requests() <= 1
