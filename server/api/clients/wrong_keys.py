"""Clients that send wrong API keys: how many each may send, and what the log says of them."""

import logging
import math
import time
from collections import OrderedDict
from dataclasses import dataclass

from server.errors import ClientLimitError

__all__ = ["MAX_WRONG_KEYS_PER_MINUTE", "WrongKeys"]

logger = logging.getLogger(__name__)

MAX_WRONG_KEYS_PER_MINUTE = 60
WINDOW_S = 60.0
LOG_INTERVAL_S = 60.0
# The addresses that are remembered at most; a few MB.
MAX_CLIENTS = 10_000


@dataclass(slots=True)
class _Window:
    """The wrong keys of a client since its first one, for a minute."""

    start_s: float
    num_keys: int = 0


class WrongKeys:
    """Counts wrong keys by client, over HTTP and gRPC together.

    A client is an address, which many may share. So a right key is never refused for the wrong
    ones of others.
    """

    def __init__(self, max_per_minute: int = MAX_WRONG_KEYS_PER_MINUTE) -> None:
        """0 is no limit."""
        self._max_per_minute = max_per_minute
        # In the order in which their windows began.
        self._windows = OrderedDict[str, _Window]()
        self._num_unwritten = 0
        self._next_line_s = 0.0

    def note(self, client: str) -> None:
        """Count a request with a wrong key. Raises ClientLimitError above the limit."""
        now_s = time.monotonic()
        self._write(client, now_s)
        limit = self._max_per_minute
        if not limit:
            return
        self._forget_old(now_s)
        window = self._windows.setdefault(client, _Window(now_s))
        window.num_keys += 1
        if window.num_keys > limit:
            problem = (
                f"the API key is wrong, and this address has sent more than {limit} wrong ones "
                f"within a minute: --max_wrong_keys_per_minute {limit}; the right key works at "
                "any time"
            )
            wait_s = math.ceil(window.start_s + WINDOW_S - now_s)
            raise ClientLimitError(problem, "max_wrong_keys_per_minute", max(1, wait_s))

    def _forget_old(self, now_s: float) -> None:
        while self._windows:
            oldest = next(iter(self._windows.values()))
            if now_s < oldest.start_s + WINDOW_S and len(self._windows) < MAX_CLIENTS:
                return
            self._windows.popitem(last=False)

    def _write(self, client: str, now_s: float) -> None:
        """Write one line a minute, however many wrong keys come."""
        self._num_unwritten += 1
        if now_s >= self._next_line_s:
            logger.warning(
                "Refused %d request(s) with a wrong API key, the last from %s",
                self._num_unwritten,
                client,
            )
            self._num_unwritten, self._next_line_s = 0, now_s + LOG_INTERVAL_S
