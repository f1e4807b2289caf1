"""Notices what hangs or died: steps of models, threads, event loops. Anything may import it.

What runs a model for many requests makes a WatchedService. WATCHDOG looks at all of them.
"""

from server.host.watch.activity import Activity
from server.host.watch.jobs import ABANDONED, ReplacedThreads, watched_job
from server.host.watch.service import WatchedService
from server.host.watch.stacks import describe_threads, threads_named
from server.host.watch.tasks import start_vital_task
from server.host.watch.watchdog import WATCHDOG, Watchdog

__all__ = [
    "ABANDONED",
    "WATCHDOG",
    "Activity",
    "ReplacedThreads",
    "Watchdog",
    "WatchedService",
    "describe_threads",
    "start_vital_task",
    "threads_named",
    "watched_job",
]
