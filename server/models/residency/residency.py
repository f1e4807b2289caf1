"""Decides which models are loaded: for whom others leave, and who waits how long."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from server.errors import ModelLoadError, ModelNotReadyError, QueueFullError
from server.models.residency.group import Group
from server.models.residency.groups import Groups
from server.models.residency.model_memory import ModelMemory
from server.models.residency.resident_graph import ResidentGraph
from server.models.residency.settings import ResidencySettings
from server.models.residency.waiting import Waiter, WaitingLine

if TYPE_CHECKING:
    from server.models.served_model import ServedModel

__all__ = ["Residency"]

logger = logging.getLogger(__name__)

# While others wait for its memory, a group takes new requests for this long after it was loaded.
# Shorter turns would be spent on loading.
TURN_S = 10.0
# A request tries again to load what failed, but not earlier than this. Without requests the server
# tries by itself: one that is not ready may get none.
RETRY_PAUSE_S = 10.0
RETRY_ALONE_S = 60.0
# What a client is told that is one too many.
RETRY_AFTER_S = 5
# How often to look for idle groups, at most.
TICK_S = 1.0


class Residency:
    """Loads groups of models for the requests that wait for them, in the order of arrival.

    Where memory is short, idle groups are unloaded first, the least recently used one before all
    others. If all are busy, the one that was loaded first takes no new requests any more, after its
    turn, and is unloaded when it has finished. `wake` loads a model, and leaves an error in its
    `load_error`.
    """

    def __init__(
        self,
        settings: ResidencySettings,
        models: Callable[[], Iterable["ServedModel"]],
        wake: Callable[["ServedModel"], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._models = models
        self._wake = wake
        self._memory = ModelMemory(settings.memory_budget_bytes, models)
        self._groups = Groups(models)
        self._line = WaitingLine()
        self._has_changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        # Those that nodes wait for.
        self._loads: set[asyncio.Task[None]] = set()
        self._retry_at: dict[ServedModel, float] = {}
        self._is_closed = False

    def admit(self, model: "ServedModel") -> None:
        """Let requests reach a new model through here."""
        model.resident_graph = ResidentGraph(model, self)
        model.graph_for_nodes = ResidentGraph(model, self, from_node=True)

    async def enter(self, model: "ServedModel", *, from_node: bool = False) -> Group:
        """Wait until the model is loaded; it stays so until `leave` is called with the result.

        A node waits for no other group: its own one may be what the other waits for.
        Raises ModelNotReadyError, and QueueFullError if too many wait.
        """
        group = self._groups.of(model)
        if not (model.is_loaded and (from_node or not group.is_yielding)):
            self._refuse_early(model)
            if not from_node:
                await self._wait(model, group)
                return group
            await self._load_now(model, group)
        group.enter()
        return group

    def leave(self, group: Group) -> None:
        """Note the end of a request."""
        group.leave()
        if not group.num_requests:
            self._has_changed.set()

    async def load(self, model: "ServedModel", load: Callable[[], Awaitable[None]]) -> None:
        """Make room for a model that a start or a reload loads, then call `load`.

        Raises ModelLoadError if it can never have room.
        """
        waiter = Waiter(model, self._groups.of(model), load)
        self._join(waiter)
        try:
            await waiter.done
        finally:
            self._line.remove(waiter)

    def start(self) -> None:
        """Begin to unload what is idle."""
        self._watcher = asyncio.create_task(self._watch())

    def close(self) -> None:
        """Refuse those who wait, and load and unload nothing any more.

        A model that is being loaded cannot be stopped: `wait` waits for it.
        """
        self._is_closed = True
        for waiter in self._line.take_all():
            waiter.fail(_shutting_down())
        for task in self._tasks():
            task.cancel()

    async def wait(self) -> None:
        """Wait for what `close` could not stop."""
        if tasks := self._tasks():
            await asyncio.wait(tasks)

    def _tasks(self) -> Sequence["asyncio.Task[None]"]:
        return [task for task in (self._worker, self._watcher, *self._loads) if task is not None]

    def _refuse_early(self, model: "ServedModel") -> None:
        """Raise ModelNotReadyError or QueueFullError for a request that need not wait."""
        if self._is_closed:
            raise _shutting_down()
        if model.loading is not None and model.loading.is_late:
            raise _still_loading(model)
        pause = self._retry_at.get(model, 0.0) - time.monotonic()
        if model.load_error is not None and pause > 0:
            raise _failed(model, pause)
        if len(self._line) >= self._settings.max_waiting:
            raise QueueFullError(
                f"{len(self._line)} requests wait for models to be loaded; "
                f"--max_requests_waiting_for_load allows {self._settings.max_waiting}",
                "max_requests_waiting_for_load",
                RETRY_AFTER_S,
            )

    async def _wait(self, model: "ServedModel", group: Group) -> None:
        waiter = Waiter(model, group)
        self._join(waiter)
        try:
            await asyncio.wait([waiter.done], timeout=self._settings.wait_timeout_s)
        except BaseException:
            # The client left. What is being loaded for it goes on: the next one comes soon.
            if waiter.was_granted:
                self.leave(group)
            raise
        finally:
            self._line.remove(waiter)
            self._has_changed.set()
        if not waiter.done.done():
            raise ModelNotReadyError(
                f"model {model.name!r} was not loaded within {self._settings.wait_timeout_s:g} s; "
                "--load_wait_timeout_seconds allows more"
            )
        waiter.done.result()

    def _join(self, waiter: Waiter) -> None:
        if self._is_closed:
            raise _shutting_down()
        self._line.add(waiter)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def _work(self) -> None:
        """Serve the line until it is empty."""
        while (waiter := self._line.first()) is not None:
            try:
                await self._serve(waiter)
            except ModelLoadError as error:
                self._line.remove(waiter)
                self._retry_at[waiter.model] = time.monotonic() + RETRY_PAUSE_S
                waiter.fail(error)
            except Exception as error:
                logger.exception("Loading %s failed unexpectedly", waiter.group)
                self._line.remove(waiter)
                waiter.fail(ModelNotReadyError(f"loading failed: {type(error).__name__}: {error}"))

    async def _serve(self, waiter: Waiter) -> None:
        model = waiter.model
        # A reload may have moved it to another one.
        waiter.group = self._groups.of(model)
        if waiter.load is not None:
            if await self._make_room(waiter, [model]):
                self._line.remove(waiter)
                await self._load(model, waiter.load)
                if not waiter.done.done():
                    waiter.done.set_result(None)
            return
        if model.is_loaded or not model.can_wake:
            self._settle(model)
        else:
            await self._wake_group(waiter)

    async def _wake_group(self, waiter: Waiter) -> None:
        model, group = waiter.model, waiter.group
        asleep = [m for m in self._groups.members(group) if m is model or self._should_wake(m)]
        try:
            has_room = await self._make_room(waiter, asleep)
        except ModelLoadError as error:
            model.fail(error)
            self._settle(model)
            return
        if has_room:
            # The one that is asked for comes first.
            for each in sorted(asleep, key=lambda each: each is not model):
                await self._load(each, partial(self._wake_once, each))

    def _should_wake(self, model: "ServedModel") -> bool:
        return model.can_wake and self._retry_at.get(model, 0.0) <= time.monotonic()

    async def _wake_once(self, model: "ServedModel") -> None:
        # A node of another graph may have been quicker.
        if not model.is_loaded:
            await self._wake(model)

    async def _load(self, model: "ServedModel", load: Callable[[], Awaitable[None]]) -> None:
        group = self._groups.of(model)
        # Counted as a request: nothing of the group is idle before its first request is served.
        group.enter()
        try:
            await self._memory.load(model, load)
            group.loaded_at = time.monotonic()
            self._settle(model)
        finally:
            self.leave(group)
        await self._keep_budget(group)

    async def _keep_budget(self, beside: Group | None = None) -> None:
        """Unload idle models if a load took more than was expected."""
        while self._memory.is_over_budget():
            idle = self._groups.find_idle(beside)
            if idle is None:
                return
            await self._unload(idle, "all models together took more than --memory_budget_gb")

    def _settle(self, model: "ServedModel") -> None:
        """Answer the requests that wait for a model: it is loaded now, or cannot be."""
        if model.load_error is not None:
            self._retry_at[model] = time.monotonic() + RETRY_PAUSE_S
        else:
            self._retry_at.pop(model, None)
        for waiter in self._line.take_requests(model):
            if model.is_loaded:
                waiter.group.enter()
                waiter.done.set_result(None)
            elif model.load_error is not None:
                waiter.fail(_failed(model, RETRY_PAUSE_S))
            elif model.loading is not None:
                waiter.fail(_still_loading(model))
            else:
                waiter.fail(ModelNotReadyError(f"model {model.name!r} was removed"))

    async def _load_now(self, model: "ServedModel", group: Group) -> None:
        """Load a model for a node of a running graph. Raises ModelNotReadyError."""
        while not self._memory.has_room([model]):
            idle = self._groups.find_idle(group)
            if idle is None:
                break
            await self._unload(idle, f"{group} needs its memory")
        try:
            self._memory.check_budget([model], str(group))
        except ModelLoadError as error:
            raise ModelNotReadyError(str(error)) from error
        # In a task of its own: a client that leaves does not stop the load.
        load = asyncio.create_task(self._load(model, partial(self._wake_once, model)))
        self._loads.add(load)
        load.add_done_callback(self._loads.discard)
        await asyncio.wait([load])
        if not model.is_loaded:
            raise _failed(model, RETRY_PAUSE_S)

    async def _make_room(self, waiter: Waiter, models: Sequence["ServedModel"]) -> bool:
        """Unload others until the models fit; False if nobody waits for their group any more.

        If nothing else can be unloaded, it is tried with the memory that is free. Raises
        ModelLoadError if the models do not fit the budget.
        """
        group = waiter.group
        self._memory.check_budget_alone(models, str(group))
        try:
            while not self._memory.has_room(models):
                if not self._line.has(group):
                    return False
                if (idle := self._groups.find_idle(group)) is not None:
                    await self._unload(idle, f"{group} needs its memory")
                elif (busy := self._groups.find_busy(group)) is not None:
                    await self._wait_for_turn(waiter, busy)
                else:
                    self._memory.check_budget(models, str(group))
                    break
            return True
        finally:
            for each in self._groups:
                each.is_yielding = False

    async def _wait_for_turn(self, waiter: Waiter, busy: Group) -> None:
        """Wait until a request ended; after its turn the busy group takes no new ones."""
        left = max(waiter.since, busy.loaded_at) + TURN_S - time.monotonic()
        if left <= 0:
            busy.is_yielding = True
        self._has_changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if left <= 0 else left):
                await self._has_changed.wait()

    async def _unload(self, group: Group, reason: str) -> None:
        members = [model for model in self._groups.members(group) if model.is_loaded]
        if members and not group.num_requests:
            await self._memory.unload(members, reason)

    async def _watch(self) -> None:
        timeout_s = self._settings.idle_unload_timeout_s
        tick_s = min(TICK_S, timeout_s / 4) if timeout_s else TICK_S
        while True:
            await asyncio.sleep(tick_s)
            self._forget_removed()
            self._retry()
            await self._keep_budget()
            if timeout_s:
                await self._unload_idle(timeout_s)

    async def _unload_idle(self, timeout_s: float) -> None:
        for group in self._groups:
            is_idle = time.monotonic() - group.last_used >= timeout_s and not group.num_requests
            if is_idle and not group.is_permanent and not self._line.has(group):
                await self._unload(group, f"no request for {timeout_s:g} s")

    def _retry(self) -> None:
        """Try again what could not be loaded: without it the server may get no requests."""
        now = time.monotonic()
        for model in self._models():
            if model.can_wake and model.load_error is not None:
                group = self._groups.of(model)
                due = self._retry_at.get(model, 0.0) + RETRY_ALONE_S - RETRY_PAUSE_S
                if due <= now and not self._line.has(group):
                    self._join(Waiter(model, group, partial(self._wake_once, model)))

    def _forget_removed(self) -> None:
        self._groups.forget(self._line.has)
        for model in self._retry_at.keys() - set(self._models()):
            del self._retry_at[model]


def _failed(model: "ServedModel", pause_s: float) -> ModelNotReadyError:
    problem = f"model {model.name!r} could not be loaded: {model.failure}"
    return ModelNotReadyError(problem, retry_after_s=pause_s)


def _still_loading(model: "ServedModel") -> ModelNotReadyError:
    return ModelNotReadyError(f"model {model.name!r} is {model.loading}", RETRY_PAUSE_S)


def _shutting_down() -> ModelNotReadyError:
    return ModelNotReadyError("the server is shutting down")
