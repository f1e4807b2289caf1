"""The request that the current task or thread works for: log lines name it.

Tasks and `asyncio.to_thread` take over what is current where they are started.
"""

from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["CURRENT_REQUEST", "REQUEST_OF_RECORD", "LoggedRequest"]

REQUEST_OF_RECORD = "request"
"""The attribute of a log record that has its LoggedRequest."""


@dataclass(slots=True)
class LoggedRequest:
    """What log lines say of a request. It has no more than that: tasks may keep it for long.

    `model` is known later than the rest. The ids of the trace are those of the request's span.
    """

    request_id: str
    model: str | None = None
    trace_id: str | None = None
    span_id: str | None = None

    def log_members(self) -> dict[str, str]:
        """The members that are known, by their names in a log line."""
        found = {"request_id": self.request_id}
        for name in ("model", "trace_id", "span_id"):
            value: str | None = getattr(self, name)
            if value is not None:
                found[name] = value
        return found


CURRENT_REQUEST: ContextVar[LoggedRequest | None] = ContextVar("current_request", default=None)
