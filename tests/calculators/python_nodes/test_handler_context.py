"""The code of a Python node runs in the context of its request: its log lines name that."""

from calculators.python_nodes.handler_threads import HandlerThread
from server.host.current_request import CURRENT_REQUEST, LoggedRequest


async def test_jobs_have_the_context_of_their_caller() -> None:
    thread = HandlerThread("test", lambda _: RuntimeError())
    for name in ("first", "second"):
        CURRENT_REQUEST.set(LoggedRequest(name))
        assert await thread.run(CURRENT_REQUEST.get) == LoggedRequest(name)
    CURRENT_REQUEST.set(None)
    assert await thread.run(CURRENT_REQUEST.get) is None
    thread.end()
    assert thread.join(60)
