"""Replicas of the server on the machines of a Ray cluster, behind one address:

    serve run demos.ray.ray_replicas:app model=tiny_chat replicas=2

Each replica is an actor that runs one server, with the engine and the API of this package. The
front takes every request to a replica: a conversation to the one that has its beginning in the
prefix cache, while that one has little more to do than the others.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig, RequestRouterConfig
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

# ray.serve.llm has the same class under a public name, but can only be imported with pyarrow.
ROUTER = (
    "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router"
    ".PrefixCacheAffinityRouter"
)
# A conversation leaves its replica when that one has this many more requests than another.
IMBALANCED_THRESHOLD = 8
# New replicas are started when each has more requests than this.
TARGET_REQUESTS = 16
MAX_REQUESTS = 1000
# The server, which is killed when its actor dies.
PROGRAM = """
import sys
from server.cli.main import main
from server.host.child_processes import end_with_parent
end_with_parent()
sys.exit(main())
"""
# What a call of a replica raises when the replica, or its server, is gone.
REPLICA_ERRORS = (RayError, RayServeException, aiohttp.ClientError)
# Tells a client which replica answered.
REPLICA_HEADER = "X-Replica"
# In the order in which chat templates write them.
TEXT_FIELDS = ("system", "instructions", "messages", "prompt", "input")
MAX_COMPARED_CHARACTERS = 20_000
# Parsing more would keep other requests waiting.
MAX_READ_BYTES = 1_000_000
# Headers of one connection, which are not passed on.
OF_A_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Call:
    """A request of a client. Ray's router compares `prompt` with those of earlier requests."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    prompt: str


@dataclass(frozen=True)
class Head:
    """The beginning of an answer, before its body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@serve.deployment(
    max_ongoing_requests=MAX_REQUESTS,
    health_check_period_s=2,
    graceful_shutdown_timeout_s=45,
    request_router_config=RequestRouterConfig(
        request_router_class=ROUTER,
        request_router_kwargs={"imbalanced_threshold": IMBALANCED_THRESHOLD, "do_eviction": True},
    ),
)
class Replica:
    """One server, which ends with its actor; its own bounds of requests and memory hold."""

    def __init__(self, arguments: list[str]) -> None:
        # The address that the server prints when its models are loaded.
        flags = ["--rest_port", "0", "--rest_bind_address", "127.0.0.1"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments, *flags], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if len(words) < 3:
            code = self._process.wait()
            raise RuntimeError(f"the server ended with status {code}; its log says why")
        self._url = words[2]
        self._id = serve.get_replica_context().replica_id.unique_id
        self._session: aiohttp.ClientSession | None = None

    async def stream(self, call: Call) -> AsyncIterator[Head | bytes]:
        """Pass a request on; yields a Head, then the pieces of the body."""
        session = self._session
        if session is None:
            session = self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
            )
        request = session.request(
            call.method, self._url + call.path, headers=call.headers, data=call.body
        )
        async with request as answer:
            yield Head(answer.status, {**answer.headers, REPLICA_HEADER: self._id})
            async for piece in answer.content.iter_any():
                yield piece

    def check_health(self) -> None:
        """Ray replaces a replica for which this raises."""
        code = self._process.poll()
        if code is not None:
            raise RuntimeError(f"the server ended with status {code}")

    def __del__(self) -> None:
        self._process.terminate()
        self._process.wait()


@serve.deployment(max_ongoing_requests=MAX_REQUESTS)
class Front:
    """Takes the requests of clients to replicas."""

    def __init__(self, replicas: DeploymentHandle[Any]) -> None:
        self._replicas = replicas.options(stream=True)

    async def __call__(self, request: Request) -> Response:
        call = _call(request, await request.body())
        # A replica that dies before its first byte has answered nothing: another one is asked.
        for is_last in (False, True):
            pieces = self._replicas.stream.remote(call)
            try:
                head = await anext(pieces)
            except REPLICA_ERRORS as error:
                if is_last:
                    return JSONResponse(_error(error), 503, {"Retry-After": "2"})
                continue
            headers = _passed_on(head.headers)
            is_stream = headers.get("content-type", "").startswith("text/event-stream")
            return StreamingResponse(_relay(pieces, is_stream), head.status, headers)
        raise AssertionError


async def _relay(pieces: DeploymentResponseGenerator[Any], is_stream: bool) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield piece
    except REPLICA_ERRORS as error:
        # An answer that is no stream is cut short, which tells the client.
        if not is_stream:
            raise
        yield b"data: " + json.dumps(_error(error)).encode() + b"\n\n"
    finally:
        # Where the client is gone; the server then ends the request.
        pieces.cancel()


def _call(request: Request, body: bytes) -> Call:
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return Call(request.method, path, _passed_on(request.headers), body, _beginning(body))


def _beginning(body: bytes) -> str:
    """The texts of a prompt. What those of two requests share, the prefix cache shares as well."""
    try:
        fields = json.loads(body) if len(body) <= MAX_READ_BYTES else None
        texts = [] if not isinstance(fields, dict) else _texts([fields.get(n) for n in TEXT_FIELDS])
        text = "".join(texts)[:MAX_COMPARED_CHARACTERS]
    except (ValueError, RecursionError):
        text = ""
    # Ray's router cannot compare nothing; this is like no other.
    return text or uuid4().hex


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts([value.get("text"), value.get("content")])


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name.lower(): value
        for name, value in headers.items()
        if name.lower() not in OF_A_CONNECTION
    }


def _error(error: BaseException) -> dict[str, Any]:
    message = f"the replica that answered is gone ({type(error).__name__}); send the request again"
    fields = {"message": message, "type": "server_error", "param": None, "code": "replica_gone"}
    return {"error": fields}


def app(args: Mapping[str, str]) -> serve.Application:
    """The application. `args` are `model` and further `flags` of the server, `replicas` (1), up to
    `max_replicas` of them, and the `cpus` of each (1).
    """
    known = {"model", "flags", "replicas", "max_replicas", "cpus"}
    if unknown := set(args) - known:
        raise ValueError(f"unknown arguments {sorted(unknown)}; possible: {sorted(known)}")
    least = int(args.get("replicas", 1))
    replicas = Replica.options(
        ray_actor_options={"num_cpus": float(args.get("cpus", 1))},
        autoscaling_config=AutoscalingConfig(
            min_replicas=least,
            initial_replicas=least,
            max_replicas=max(least, int(args.get("max_replicas", least))),
            target_ongoing_requests=TARGET_REQUESTS,
        ),
    ).bind([args["model"], *shlex.split(args.get("flags", ""))])
    return Front.options(ray_actor_options={"num_cpus": 0}).bind(replicas)
