"""The front of several replicas: the one server that clients see."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from server.api.body import meet_expectation
from server.api.endpoint import add_routes
from server.api.keys import RELOAD_SECRETS
from server.api.middleware.application import make_application
from server.api.monitoring.http_requests import HttpNumbers
from server.api.replicas.backend import Backend
from server.api.replicas.forwarding import Forwarder
from server.api.replicas.front_facts import facts_headers
from server.api.replicas.joined import Replicas
from server.api.replicas.routing import Router
from server.api.settings import HttpSettings
from server.errors import ReloadError, ServingError
from server.host.watch import start_vital_task

__all__ = ["Front"]


class Front:
    """Passes requests on to replicas. `secret` tells them that it is the front that asks.

    It checks who asks, once for all replicas; they do the rest.
    """

    def __init__(self, backends: Sequence[Backend], secret: str, max_imbalance: int) -> None:
        self._backends = backends
        self._headers = facts_headers(secret)
        self.secret = secret
        self.router = Router(backends, max_imbalance)
        self._forwarder = Forwarder(self.router, secret)
        self._numbers = HttpNumbers()
        self._replicas = Replicas(backends, secret, self._numbers)
        self._watching: list[asyncio.Task[None]] = []

    def make_app(self, settings: HttpSettings) -> web.Application:
        """The application for the clients."""
        app = make_application(settings, self._numbers)
        app[RELOAD_SECRETS] = settings.reload_secrets or (lambda: None)
        add_routes(app.router, self._replicas.endpoints())
        forward = self._forwarder.forward
        app.router.add_route("*", "/{path:.*}", forward, expect_handler=meet_expectation)
        return app

    def start(self) -> None:
        """Begin to ask the replicas how they are."""
        self._watching = [
            start_vital_task(backend.watch(self._headers), f"watching {backend.name}")
            for backend in self._backends
        ]

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, and give those at work so long to end."""
        self.router.is_draining = self._replicas.is_draining = True
        work = [each for backend in self._backends for each in backend.work]
        if work:
            ends = [asyncio.create_task(each.end.wait()) for each in work]
            _, late = await asyncio.wait(ends, timeout=timeout_s)
            for task in late:
                task.cancel()

    async def close(self) -> None:
        """Close the connections to the replicas."""
        for task in self._watching:
            task.cancel()
        for backend in self._backends:
            await backend.close()

    async def states(self) -> Mapping[str, Any]:
        """The states of all models, as /v1/config tells them."""
        return await self._replicas.states()

    async def reload(self) -> bool:
        """Let one replica after the other load what changed; returns whether any did.

        Raises ReloadError, or ModelNotReadyError if no replica answers.
        """
        told = await self._replicas.reload()
        errors: dict[str, ServingError] = {
            each.backend.name: ServingError(each.problem) for each in told if each.status >= 400
        }
        if errors:
            raise ReloadError(errors)
        return any(each.status == 201 for each in told)
