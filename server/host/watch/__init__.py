"""Notices what hangs or died: steps of models, threads, event loops. Anything may import it.

What runs a model for many requests makes a WatchedService. WATCHDOG looks at all of them.
"""

from server.host.watch.jobs import ABANDONED, ReplacedThreads, watched_job
from server.host.watch.service import WatchedService
from server.host.watch.watchdog import WATCHDOG, Watchdog

__all__ = [
    "ABANDONED",
    "WATCHDOG",
    "ReplacedThreads",
    "Watchdog",
    "WatchedService",
    "watched_job",
]
