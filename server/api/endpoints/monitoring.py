"""GET /v1/status: the models, their graphs, and how the server fares, in one JSON document."""

import asyncio

from aiohttp import web

from server.api.endpoint import Endpoint, error_answers, json_answer
from server.api.keys import MONITOR
from server.errors import InvalidRequestError, ModelNotReadyError
from server.host.metrics import ENGINES

__all__ = ["ENDPOINTS"]

TIMEOUT_S = 5.0


async def _get_status(request: web.Request) -> web.Response:
    """The snapshot; `since` is a time in seconds since 1970, and leaves out older points."""
    since_s = _since(request.query.get("since", "0"))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            body = await request.app[MONITOR].status_from_thread(since_s)
    except TimeoutError:
        raise ModelNotReadyError(
            f"the status was not collected within {TIMEOUT_S:g} s: the status() of a node may hang"
        ) from None
    return web.Response(body=body, content_type="application/json")


async def _get_load(request: web.Request) -> web.Response:
    """vLLM's: the requests that run now, without those that watch."""
    return web.json_response({"server_load": request.app[MONITOR].num_running})


async def _get_loads(_: web.Request) -> web.Response:
    """SGLang's: the load of each engine, with the tokens that its cache holds and can hold."""
    loads = []
    for name, engine in ENGINES.by_model().items():
        load = engine.load
        loads.append(
            {
                "model_name": name,
                "dp_rank": 0,
                "num_running_reqs": load.num_running,
                "num_waiting_reqs": load.num_waiting,
                "num_total_reqs": load.num_running + load.num_waiting,
                "num_used_tokens": load.num_used_blocks * load.block_size,
                "max_total_num_tokens": load.num_blocks * load.block_size,
                "token_usage": round(load.kv_usage, 5),
                "max_running_requests": load.max_num_seqs,
            }
        )
    return web.json_response({"loads": loads})


def _since(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidRequestError(
            f"since is {text[:50]!r}; it must be a number of seconds since 1970", "since"
        ) from None


ENDPOINTS = (
    Endpoint(
        "GET",
        "/load",
        _get_load,
        "How many requests run",
        json_answer("vLLM's server load", {"type": "object"}),
    ),
    Endpoint(
        "GET",
        "/v1/loads",
        _get_loads,
        "How busy each engine is",
        json_answer("SGLang's loads", {"type": "object"}),
    ),
    Endpoint(
        "GET",
        "/v1/status",
        _get_status,
        "The models, their graphs, and how the server fares",
        json_answer("A snapshot, with the history of the last hour", {"type": "object"})
        | error_answers(400, 503),
        query={"since": "Only points of the history after this time, in seconds since 1970"},
    ),
)
