"""The threads in which nodes are opened and closed."""

import asyncio
import threading
import weakref
from functools import partial

import pytest

from server.graph.nodes.opening import in_thread


class Weights:
    """What takes memory in a node."""


async def test_a_thread_that_has_not_ended_yet_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    tell, may_end = loop.call_soon_threadsafe, threading.Event()

    def tell_and_go_on(*arguments: object) -> None:
        tell(*arguments)  # type: ignore[arg-type]
        may_end.wait(60)

    monkeypatch.setattr(loop, "call_soon_threadsafe", tell_and_go_on)
    weights = Weights()
    reference = weakref.ref(weights)
    try:
        await in_thread(partial(id, weights))
        del weights
        assert reference() is None
    finally:
        may_end.set()
