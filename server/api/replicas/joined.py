"""What all replicas together are asked for: health, states, metrics, reloading."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

from server.api.body import read_plain_body
from server.api.endpoint import Endpoint
from server.api.endpoints import adapters, metrics, monitoring, status
from server.api.errors import ApiError, error_response
from server.api.keys import RELOAD_SECRETS
from server.api.monitoring.http_requests import HttpNumbers
from server.api.replicas.backend import Backend
from server.api.replicas.front_facts import facts_headers
from server.api.replicas.joined_metrics import join_metrics
from server.api.replicas.joined_status import join_statuses
from server.api.replicas.loaded_adapters import LOAD_PATH, LoadedAdapters
from server.errors import ModelNotReadyError
from server.host.metrics import METRICS_CONTENT_TYPE, render_metrics
from server.models.model_manager import SHUTTING_DOWN
from server.protocol.json_text import json_bytes
from server.protocol.model_status import NotReady

__all__ = ["Replicas"]

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 5.0
# Routers scrape twenty times a second; joining the texts of many replicas takes milliseconds.
METRICS_AGE_S = 0.25
LOAD_ADAPTER_TIMEOUT_S = 60.0
JSON = "application/json"
NO_ANSWER = "it does not answer"


@dataclass(frozen=True, slots=True)
class Told:
    """The answer of a replica."""

    backend: Backend
    status: int
    body: bytes

    @property
    def problem(self) -> str:
        """What the error says that it answered with."""
        message: str = json.loads(self.body)["error"]["message"]
        return message


class Replicas:
    """All replicas as one server.

    `secret` tells them that the front asks; `numbers` are of what the front answers itself.
    """

    def __init__(self, backends: Sequence[Backend], secret: str, numbers: HttpNumbers) -> None:
        self._backends = backends
        self._numbers = numbers
        self._headers = facts_headers(secret)
        self._reloading = asyncio.Lock()
        self._metrics, self._metrics_s = b"", float("-inf")
        self._num_ended = 0
        self._collecting = asyncio.Lock()
        self._adapters = LoadedAdapters()
        for backend in backends:
            backend.prepare = partial(self._load_adapters, backend)
        self.is_draining = False

    def endpoints(self) -> list[Endpoint]:
        """The endpoints that no single replica can answer."""
        handlers = {
            "/health": self._get_ready,
            "/v2/health/ready": self._get_ready,
            "/v1/config": self._get_config,
            "/v1/config/reload": self._reload_config,
            "/metrics": self._get_metrics,
            "/v1/status": self._get_status,
            "/load": self._get_load,
            "/v1/loads": self._get_loads,
            **dict.fromkeys(adapters.ADAPTER_PATHS, self._change_adapters),
        }
        return [
            Endpoint(e.method, e.path, handlers[e.path], e.summary, e.answers, is_admin=e.is_admin)
            for e in (
                *status.ENDPOINTS,
                *metrics.ENDPOINTS,
                *monitoring.ENDPOINTS,
                *adapters.ENDPOINTS,
            )
            if e.path in handlers
        ] + [e for e in status.ENDPOINTS if e.path == "/v2/health/live"]

    def why_not_ready(self) -> str | None:
        """Why no replica serves every model; None if one does."""
        if self.is_draining:
            return SHUTTING_DOWN
        if any(backend.is_ready for backend in self._backends):
            return None
        return "; ".join(f"{backend.name}: {backend.problem}" for backend in self._backends)

    async def _get_ready(self, _: web.Request) -> web.Response:
        reason = self.why_not_ready()
        if reason is None:
            return web.Response()
        answering = [each.unready for each in self._backends if each.unready is not None]
        models = min(answering, key=len, default={})
        body = NotReady(error=reason, models=dict(models))
        return web.Response(text=body.model_dump_json(), status=503, content_type=JSON)

    async def _get_config(self, _: web.Request) -> web.Response:
        told = await asyncio.gather(*map(self._get_config_of, self._answering()))
        return _config(told)

    async def states(self) -> dict[str, Any]:
        """The states of the models of all replicas; none where none answers."""
        asked = [each for each in self._backends if each.answers]
        return join_states(await asyncio.gather(*map(self._get_config_of, asked)))

    async def _get_config_of(self, backend: Backend) -> Told:
        return await self._ask(backend, "GET", "/v1/config")

    async def _reload_config(self, request: web.Request) -> web.Response:
        await asyncio.to_thread(request.app[RELOAD_SECRETS])
        told = await self.reload()
        if (refusal := _refusal(request, told)) is not None:
            return refusal
        changed = any(each.status == 201 for each in told)
        return _config(told, 201 if changed else 200)

    async def _change_adapters(self, request: web.Request) -> web.Response:
        """Let every replica load or unload an adapter."""
        body = await read_plain_body(request)
        asked = [
            self._ask(each, "POST", request.path, timeout_s=None, body=body)
            for each in self._answering()
        ]
        told = await asyncio.gather(*asked)
        has_accepted = [each.status < 400 for each in told]
        # An adapter that one replica has unloaded must not come back with the next start.
        is_unload = request.path != LOAD_PATH
        if any(has_accepted) and (is_unload or all(has_accepted)):
            self._adapters.note(request.path, body)
        if (refusal := _refusal(request, told)) is not None:
            return refusal
        return web.Response(text=told[0].body.decode())

    async def _load_adapters(self, backend: Backend) -> None:
        """Let a replica that was started again load what clients have loaded into the others."""
        for name, body in self._adapters.requests():
            told = await self._ask(backend, "POST", LOAD_PATH, LOAD_ADAPTER_TIMEOUT_S, body)
            if told.status >= 400:
                logger.error("%s lacks the adapter %r: %s", backend.name, name, told.problem)

    async def reload(self) -> list[Told]:
        """Let one replica after the other load what changed; returns their answers.

        Raises ModelNotReadyError if none answers.
        """
        async with self._reloading:
            answering = self._answering()
            return [
                await self._ask(backend, "POST", "/v1/config/reload", timeout_s=None)
                for backend in answering
            ]

    async def _get_metrics(self, _: web.Request) -> web.Response:
        async with self._collecting:
            # Who has an answer expects to find it counted.
            num_ended = sum(backend.num_ended for backend in self._backends)
            is_old = time.monotonic() - self._metrics_s > METRICS_AGE_S
            if is_old or num_ended != self._num_ended:
                self._metrics = await self._collect()
                self._metrics_s, self._num_ended = time.monotonic(), num_ended
        return web.Response(body=self._metrics, headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def _collect(self) -> bytes:
        backends = [backend for backend in self._backends if backend.answers]
        told = await asyncio.gather(*(self._ask(each, "GET", "/metrics") for each in backends))
        texts = {str(each.backend.number): each.body for each in told if each.status == 200}
        return await asyncio.to_thread(
            lambda: join_metrics({**texts, "front": self._front_metrics()}),
        )

    def _front_metrics(self) -> bytes:
        lines = (line for family in self._numbers.of_ended() for line in family.lines())
        return "".join(lines).encode() + render_metrics()

    async def _get_load(self, _: web.Request) -> web.Response:
        loads = await self._ask_all("/load")
        return web.json_response({"server_load": sum(load["server_load"] for _, load in loads)})

    async def _get_loads(self, _: web.Request) -> web.Response:
        told = await self._ask_all("/v1/loads")
        loads = [{**load, "dp_rank": number} for number, each in told for load in each["loads"]]
        return web.json_response({"loads": loads})

    async def _ask_all(self, path: str) -> list[tuple[int, Any]]:
        """What each replica answers, by its number. Raises ModelNotReadyError if none does."""
        told = await asyncio.gather(*(self._ask(each, "GET", path) for each in self._answering()))
        answers = [each for each in told if each.status == 200]
        if not answers:
            raise ModelNotReadyError(told[0].problem)
        return [(each.backend.number, json.loads(each.body)) for each in answers]

    async def _get_status(self, request: web.Request) -> web.Response:
        path = f"/v1/status?{request.rel_url.raw_query_string}"
        told = await asyncio.gather(*(self._ask(each, "GET", path) for each in self._answering()))
        texts = {each.backend.number: each.body for each in told if each.status == 200}
        if not texts:
            return web.Response(body=told[0].body, status=told[0].status, content_type=JSON)
        silent = [backend for backend in self._backends if backend.number not in texts]
        problems = {backend.number: backend.problem or NO_ANSWER for backend in silent}
        reason, is_draining = self.why_not_ready(), self.is_draining
        body = await asyncio.to_thread(join_statuses, texts, problems, reason, is_draining)
        return web.Response(body=body, content_type=JSON)

    def _answering(self) -> list[Backend]:
        answering = [backend for backend in self._backends if backend.answers]
        if not answering:
            raise ModelNotReadyError(f"no replica answers now ({self.why_not_ready()})")
        return answering

    async def _ask(
        self,
        backend: Backend,
        method: str,
        path: str,
        timeout_s: float | None = ASK_TIMEOUT_S,
        body: bytes | None = None,
    ) -> Told:
        """What a replica answers; status 503 if it does not."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        url = f"http://replica{path}"
        try:
            async with backend.session.request(
                method, url, headers=self._headers, timeout=timeout, data=body
            ) as answer:
                return Told(backend, answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"it does not answer: {error or type(error).__name__}"
            told = {"message": message, "type": "service_unavailable", "code": "replica_lost"}
            return Told(backend, 503, json_bytes({"error": told}))


def _refusal(request: web.Request, told: Sequence[Told]) -> web.Response | None:
    """The first error that a replica answered with."""
    bad = next((each for each in told if each.status >= 400), None)
    if bad is None:
        return None
    error = json.loads(bad.body)["error"]
    message = f"{bad.backend.name}: {error['message']}"
    kind, code = error["type"], error["code"]
    return error_response(request, ApiError(bad.status, message, kind, code=code))


def _config(told: Sequence[Told], status: int = 200) -> web.Response:
    text = json.dumps(join_states(told), indent=1)
    return web.Response(text=text, status=status, content_type=JSON)


def join_states(told: Sequence[Told]) -> dict[str, Any]:
    """The states of models, from the replica that serves each best; `replicas` has all states."""
    states = {
        each.backend.number: json.loads(each.body) for each in told if each.status in (200, 201)
    }
    joined: dict[str, Any] = {}
    for number, models in states.items():
        for name, model in models.items():
            entry = joined.setdefault(name, {**model, "replicas": []})
            entry["replicas"].append({"replica": number, **model})
            if _num_available(model) > _num_available(entry):
                entry["model_version_status"] = model["model_version_status"]
    return joined


def _num_available(model: Mapping[str, Any]) -> int:
    versions = model["model_version_status"]
    return sum(version["state"] == "AVAILABLE" for version in versions)
