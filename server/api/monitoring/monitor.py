"""A thread that notes the numbers of every model every few seconds, and makes /v1/status."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from server.api.monitoring.history import INTERVAL_S, ModelHistory
from server.api.monitoring.status import describe_history, describe_model, describe_process
from server.host.metrics import ENGINES, EngineNumbers
from server.models.model_manager import ModelManager, ServedModel
from server.protocol.json_text import json_bytes

__all__ = ["Monitor"]

logger = logging.getLogger(__name__)

MAX_AGE_S = 0.5
"""Requests within so long share what was collected for the first of them."""


class Monitor:
    """The history of every model, from `start` to `stop`; `status` is for one thread at a time."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager
        self._histories: dict[str, ModelHistory] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._collected: tuple[float, bytes, list[tuple[str, bytes]]] | None = None
        # Of its own: it calls the nodes' `status`, which others wrote.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="status")
        self._work: asyncio.Future[bytes] | None = None

    def start(self) -> None:
        """Begin to note numbers."""
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._ending.set()
        self._executor.shutdown(wait=False)

    @property
    def num_running(self) -> int:
        """The requests that are in the graphs of all models now."""
        return sum(model.num_running for model in self._manager.all_models())

    @property
    def num_ended(self) -> int:
        """The requests that have left the graphs of all models, over HTTP and gRPC."""
        models = self._manager.all_models()
        return sum(model.numbers.num_runs - model.num_running for model in models)

    async def status_from_thread(self, since_s: float) -> bytes:
        """What `status` returns. While that hangs nothing more is given to its thread."""
        while self._work is not None and not self._work.done():
            await asyncio.wait([self._work])
        loop = asyncio.get_running_loop()
        self._work = loop.run_in_executor(self._executor, self.status, since_s)
        # Who waits no longer must not hide that the thread is still at work.
        return await asyncio.shield(self._work)

    def status(self, since_s: float) -> bytes:
        """The JSON of /v1/status, with the points of the history after `since_s`.

        May take milliseconds, and as long as the nodes' own `status` takes.
        """
        collected = self._collected
        if collected is None or time.monotonic() - collected[0] > MAX_AGE_S:
            collected = self._collected = self._collect()
        _, process, models = collected
        parts = []
        for label, text in models:
            with self._lock:
                history = self._histories.get(label)
                points = "[]" if history is None else history.text(since_s)
            parts.append(text[:-1] + f',"history":{describe_history(points)}}}'.encode())
        return process[:-1] + b',"models":[' + b",".join(parts) + b"]}"

    def sample(self) -> None:
        """Add a point to each history, and forget those of models that are not configured."""
        date_s, engines = round(time.time(), 1), ENGINES.by_model()
        models = {model.label: model for model in self._manager.all_models()}
        with self._lock:
            self._histories = {
                label: self._histories.get(label) or ModelHistory() for label in models
            }
            for label, model in models.items():
                engine = _engine_of(model, engines)
                self._histories[label].add(
                    date_s, model.numbers.num_runs, model.num_running, engine
                )

    def _collect(self) -> tuple[float, bytes, list[tuple[str, bytes]]]:
        engines = ENGINES.by_model()
        models = []
        for model in self._manager.all_models():
            engine = _engine_of(model, engines)
            described = describe_model(model, engine)
            if described["engine"] is not None:
                with self._lock:
                    history = self._histories.get(model.label) or ModelHistory()
                    described["engine"]["last_minute"] = history.latencies(engine)
            models.append((model.label, json_bytes(described)))
        return time.monotonic(), json_bytes(describe_process(self._manager)), models

    def _run(self) -> None:
        while not self._ending.wait(INTERVAL_S):
            try:
                self.sample()
            except Exception:
                logger.exception("noting the numbers of the models failed; it goes on")


def _engine_of(model: ServedModel, engines: Mapping[str, EngineNumbers]) -> EngineNumbers | None:
    return engines.get(model.name) if model.is_loaded else None
