"""An engine that is replaced, in the same process, when a step of it hangs."""

import logging
import threading
from dataclasses import replace
from time import monotonic

from server.engine.adapters.settings import AdapterSource
from server.engine.async_engine import AsyncLLMEngine
from server.engine.config import EngineConfig
from server.errors import ModelNotFoundError, describe_error
from server.host.memory import available_bytes, resident_bytes
from server.host.metrics import counter
from server.host.watch import WATCHDOG, WatchedService

logger = logging.getLogger("server.engine")

MAX_ABANDONED = 2
"""Engines of a model whose thread still hangs; they hold memory, and perhaps processors."""

_abandoned: dict[str, list[AsyncLLMEngine]] = {}
"""By the folder of the model: a reload does not end what hangs."""

REPLACEMENTS = counter("server:engine_replacements", "Engines that replaced one", "service")


class ReplaceableEngine:
    """`current` is the engine that serves. Raises ModelLoadError where it cannot be loaded.

    An engine that was given up is left to its thread, which may hang for ever, and a new one is
    loaded beside it. Where that fails, or memory is too scarce for both, `WATCHDOG.fail` is called:
    only a new process can serve the model then. Requests keep the engine that they began with.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._name = str(config.models_path)
        self._lock = threading.Lock()
        self._is_closed = False
        self._failure: str | None = None
        before = resident_bytes()
        self.current = AsyncLLMEngine(config, self._replace_later)
        self._num_bytes = max(0, resident_bytes() - before)
        # Requests were promised the room of the first cache, however much memory is free later.
        num_blocks = self.current.engine.num_blocks if self.current.status["paged"] else 0
        self._config = replace(config, num_kv_blocks=num_blocks)

    @property
    def failure(self) -> str | None:
        """Why no engine can serve; None while one can."""
        return self._failure or self.current.failure

    def room(self, num_prompt_tokens: int, num_beams: int) -> int:
        """The most tokens of each answer to a prompt; below 1 where there is no room."""
        return self.current.room(num_prompt_tokens, num_beams)

    @property
    def is_open(self) -> bool:
        """Whether adapters may be loaded while requests go on."""
        return self._config.adapters.is_open and self.current.adapters is not None

    def load_adapter(self, source: AdapterSource, replaces: bool = False) -> None:
        """Load an adapter while requests go on; see AsyncLLMEngine.load_adapter."""
        self.current.load_adapter(source, replaces)
        self._keep_adapters()

    def unload_adapter(self, name: str) -> None:
        """Let no further request have an adapter. Raises ModelNotFoundError."""
        store = self.current.adapters
        if store is None:
            raise ModelNotFoundError(f"there is no adapter {name[:100]!r}: this model takes none")
        store.unload(name)
        self._keep_adapters()

    def _keep_adapters(self) -> None:
        """Let an engine that replaces this one have the same adapters."""
        store = self.current.adapters
        assert store is not None, "there are adapters"
        sources = tuple(adapter.source for adapter in store.adapters)
        adapters = replace(self._config.adapters, sources=sources)
        self._config = replace(self._config, adapters=adapters)

    def _forget_lost_adapters(self) -> None:
        """Leave out adapters whose files have gone: without them the model can serve."""
        found = self._config.adapters.sources
        kept = tuple(source for source in found if source.path.exists())
        for source in set(found).difference(kept):
            logger.warning("the adapter %r is lost: %s has gone", source.name, source.path)
        self._config = replace(self._config, adapters=replace(self._config.adapters, sources=kept))

    def close(self) -> None:
        """Stop the engine after its running step, unless that hangs."""
        with self._lock:
            self._is_closed = True
        self.current.close()

    def _replace_later(self, reason: str) -> None:
        """In the watchdog's thread, which has to go on."""
        self._failure = f"{reason}. The model is being loaded again"
        thread = threading.Thread(target=self._replace, args=(reason,), name="llm-replacement")
        thread.daemon = True
        thread.start()

    def _replace(self, reason: str) -> None:
        began = monotonic()
        known = (*_abandoned.get(self._name, ()), self.current)
        _abandoned[self._name] = [each for each in known if each.is_running]
        if self._is_closed:
            return
        # Loading may hang for the same reason as the step.
        watch = WatchedService(f"{self._name} (loading again)", self._fail)
        try:
            with watch.step():
                self._check_room()
                self._forget_lost_adapters()
                new = AsyncLLMEngine(self._config, self._replace_later)
        except BaseException as error:
            self._fail(f"{reason}; loading it again failed: {describe_error(error)}")
            return
        finally:
            watch.close()
        with self._lock:
            if not self._is_closed:
                self.current, self._failure = new, None
                REPLACEMENTS.labels(self._name).inc()
                logger.warning(
                    "%s: a new engine serves after %.1f s", self._name, monotonic() - began
                )
                return
        new.close()

    def _check_room(self) -> None:
        """Raise MemoryError where no other engine fits beside those that hang."""
        num_hung = len(_abandoned[self._name])
        if num_hung > MAX_ABANDONED:
            raise MemoryError(f"{num_hung} engines hang")
        free = available_bytes()
        if num_hung and free < self._num_bytes:
            raise MemoryError(
                f"it took {self._num_bytes / 2**30:.1f} GB, and {free / 2**30:.1f} GB are free "
                "beside the engine that hangs"
            )

    def _fail(self, reason: str) -> None:
        self._failure = reason
        WATCHDOG.fail(f"{self._name}: {reason}. Only a new process can serve this model")
