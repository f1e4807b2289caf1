"""The engines of this process by the model that they serve."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from server.host.metrics.engine_stats import EngineLoad, EngineStats

__all__ = ["ENGINES", "EngineNumbers", "Engines", "LiveEngine"]

MAX_PAST = 256
"""Of so many models that are not loaded any more the totals are kept."""


@dataclass(eq=False, slots=True)
class LiveEngine:
    """An engine of a model; `load` is asked from other threads, and must neither wait nor lock."""

    model: str
    stats: EngineStats
    load: Callable[[], EngineLoad]


@dataclass(frozen=True, slots=True)
class EngineNumbers:
    """What the engines of a model have counted, those before a reload included, and their load."""

    stats: EngineStats
    load: EngineLoad


class Engines:
    """Counters of a model go on where its engine is replaced, or its model is loaded again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: list[LiveEngine] = []
        self._past: OrderedDict[str, EngineStats] = OrderedDict()

    def add(self, model: str, stats: EngineStats, load: Callable[[], EngineLoad]) -> LiveEngine:
        """Count an engine for a model until `remove`; one for the model "" is not counted."""
        engine = LiveEngine(model, stats, load)
        if model:
            with self._lock:
                self._live.append(engine)
        return engine

    def remove(self, engine: LiveEngine) -> None:
        """Keep only what an engine has counted; harmless a second time."""
        with self._lock:
            if engine not in self._live:
                return
            self._live.remove(engine)
            past = self._past.pop(engine.model, EngineStats(engine.stats.max_model_len))
            # A new object: who asks for numbers now may still add up the old one.
            self._past[engine.model] = _sum(engine.stats, past)
            while len(self._past) > MAX_PAST:
                self._past.popitem(last=False)

    def by_model(self) -> Mapping[str, EngineNumbers]:
        """The numbers of each model that has an engine now."""
        with self._lock:
            live, past = tuple(self._live), dict(self._past)
        found: dict[str, EngineNumbers] = {}
        for engine in live:
            load = engine.load()
            before = found.get(engine.model)
            if before is None:
                stats = engine.stats
                if engine.model in past:
                    stats = _sum(stats, past[engine.model])
                found[engine.model] = EngineNumbers(stats, load)
            else:
                # While an old engine still ends its requests, the new one's cache is what matters.
                load = replace(
                    load,
                    num_running=load.num_running + before.load.num_running,
                    num_waiting=load.num_waiting + before.load.num_waiting,
                )
                found[engine.model] = EngineNumbers(_sum(engine.stats, before.stats), load)
        return found


def _sum(newest: EngineStats, other: EngineStats) -> EngineStats:
    total = EngineStats(newest.max_model_len)
    total.add(other)
    total.add(newest)
    return total


ENGINES = Engines()
