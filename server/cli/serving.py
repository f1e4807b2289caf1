"""Runs the server, from its first line in the log to the last signal."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Protocol

from server.cli.access.secret_files import SecretFiles
from server.cli.log.log_writer import LogWriter
from server.cli.serving_arguments import ServingArguments
from server.cli.versions import describe_machine, describe_versions
from server.errors import ConfigError, ServingError, describe_error
from server.host.garbage import collect_when_quiet
from server.host.metrics import gauge
from server.host.version import DISTRIBUTION
from server.host.watch import ABANDONED, WATCHDOG
from server.models.file_watcher import FileWatcher
from server.models.node_threads import NodeThreads

__all__ = ["run_server"]

logger = logging.getLogger("server")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A busy thread, one that loads a model for example, cannot be stopped: this long it is waited for.
THREAD_TIMEOUT_S = 5.0
# Time for stopping after the requests have ended; nodes get 10 s of it to clean up.
STOP_TIMEOUT_S = 15.0
HEALING_INTERVAL_S = 1.0
# What a supervisor sees when only a new process can serve; EX_SOFTWARE of sysexits.h.
EXIT_UNUSABLE = 70


class Served(Protocol):
    """What is served: the models of a manager, or replicas."""

    @property
    def num_running(self) -> int: ...
    async def load_all(self) -> None: ...
    async def reload(self, *, retry_failed: bool) -> bool: ...
    async def replace_hung(self) -> None: ...
    def give_up_hung_nodes(self, seconds: float) -> None: ...
    async def close(self, drain_s: float) -> None: ...
    async def wait_for_reloads(self) -> None: ...
    def available_models(self) -> Sequence[object]: ...
    def served_names(self) -> Sequence[str]: ...


class Doors(Protocol):
    """Where it is served."""

    secrets: SecretFiles

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def urls(self) -> list[str]: ...
    def is_local(self) -> bool: ...


def run_server(
    arguments: ServingArguments,
    served: Served,
    doors: Doors,
    log: LogWriter,
    watcher: FileWatcher | None = None,
) -> int:
    """Serve until a signal comes; returns the exit status. Raises ConfigError."""
    logger.info("%s; %s", describe_versions(DISTRIBUTION), describe_machine())
    exit_ = _Exit(log)
    server = _Server(arguments, served, doors, exit_, watcher)
    WATCHDOG.hung_after_s = arguments.hung_step_seconds
    WATCHDOG.hung_node_after_s = arguments.hung_node_seconds
    WATCHDOG.stalled_after_s = arguments.stalled_loop_seconds
    WATCHDOG.on_fatal = server.fail
    # Modules stay for ever. Without them a collection of garbage stops all threads half as long.
    gc.freeze()
    # Not asyncio.run, which waits for worker threads at its end, however long a model still loads.
    loop = asyncio.new_event_loop()
    loop.set_default_executor(NodeThreads())
    try:
        loop.run_until_complete(server.run())
    finally:
        loop.close()
    if exit_.code or len(ABANDONED):
        # What hangs would disturb the end of the interpreter.
        exit_.now()
    exit_.after(THREAD_TIMEOUT_S)
    return 0


class _Exit:
    """Ends the process without waiting for threads."""

    def __init__(self, log: LogWriter) -> None:
        self._log = log
        self.code = 0

    def now(self) -> None:
        """End the process."""
        self._log.close()
        os._exit(self.code)

    def after(self, timeout_s: float) -> None:
        """End the process if it has not ended by itself in that time."""
        timer = threading.Timer(timeout_s, self._give_up)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError as error:
            logger.warning("Stopping may take long: %s", error)

    def _give_up(self) -> None:
        busy = [t.name for t in threading.enumerate() if not t.daemon]
        logger.warning("Stopped although these threads were busy: %s", ", ".join(busy))
        self.now()


class _Server:
    """The running server, from its start to its end."""

    def __init__(
        self,
        arguments: ServingArguments,
        manager: Served,
        listeners: Doors,
        exit_: _Exit,
        watcher: FileWatcher | None,
    ) -> None:
        self._exit = exit_
        self._watcher = watcher
        self._drain_timeout_s = arguments.drain_timeout_s
        self._manager = manager
        self._listeners = listeners
        self._poll_interval_s = arguments.file_system_poll_wait_seconds
        self._stop = asyncio.Event()
        self._is_stopping = False
        # nohup has the hangup of the terminal ignored; a reload may still be asked for.
        self._ends_with_terminal = _has_terminal() and not _is_hangup_ignored()
        self._reloads: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until a signal comes, then stop."""
        self._loop = loop = asyncio.get_running_loop()
        tasks = gauge("asyncio_tasks", "Tasks of the event loop that have not ended")
        tasks.set_function(lambda: len(asyncio.all_tasks(loop)))
        WATCHDOG.watch_loop(loop)
        for number in SIGNALS:
            # Not the loop's handlers, which cannot run while a calculator blocks the loop.
            signal.signal(number, self._on_signal)
        if sys.platform != "win32":
            signal.signal(signal.SIGHUP, self._on_hangup)
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                # They have no meaning here, and would end the process in the middle of answers.
                signal.signal(number, signal.SIG_IGN)
        # Before the models are loaded: probes need answers then.
        await self._listeners.start()
        if self._listeners.urls():
            logger.info("Listening on %s", ", ".join(self._listeners.urls()))
        loading = asyncio.create_task(self._load_and_watch())
        watching = asyncio.create_task(self._watch_secrets())
        healing = asyncio.create_task(self._replace_hung())
        noticing = asyncio.create_task(self._watch_nodes())
        collecting = asyncio.create_task(collect_when_quiet(lambda: self._manager.num_running))
        for task in (loading, healing, noticing):
            task.add_done_callback(self._notice_end_of_task)
        await self._stop.wait()
        for task in (watching, loading, healing, noticing, collecting):
            task.cancel()
        await self._manager.close(self._drain_timeout_s)
        await self._listeners.stop()
        reloads = asyncio.create_task(self._manager.wait_for_reloads())
        _, busy = await asyncio.wait([loading, reloads], timeout=THREAD_TIMEOUT_S)
        if busy:
            logger.warning("Stopped while a model was still loading")
            self._exit.now()
        logger.info("Stopped")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._is_stopping:
            logger.warning("%s again: stopping at once", name)
            self._exit.now()
        self._is_stopping = True
        logger.info(
            "%s: no new requests; running ones have %g s to end. %s stops at once",
            name,
            self._drain_timeout_s,
            "Ctrl-C again" if number == signal.SIGINT else f"{name} again",
        )
        self._loop.call_soon_threadsafe(self._stop.set)
        self._exit.after(self._drain_timeout_s + STOP_TIMEOUT_S)

    def fail(self, reason: str) -> None:
        """End the process with EXIT_UNUSABLE, for a supervisor to start another; of any thread."""
        logger.critical("Exit code %d: %s", EXIT_UNUSABLE, reason)
        self._exit.code = EXIT_UNUSABLE
        if WATCHDOG.is_loop_stalled:
            self._exit.now()
        # The requests of models that still work may end first.
        self._is_stopping = True
        self._exit.after(self._drain_timeout_s + STOP_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._stop.set)

    def _notice_end_of_task(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ConfigError):
            logger.error("%s", error)
            self._exit.code, self._is_stopping = 1, True
            self._stop.set()
        elif error is not None:
            WATCHDOG.fail(f"models cannot be loaded and watched any more: {describe_error(error)}")

    async def _watch_nodes(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(HEALING_INTERVAL_S)
            last, seconds = time.monotonic(), time.monotonic() - last
            # More, and this process was stopped meanwhile.
            self._manager.give_up_hung_nodes(min(seconds, 2 * HEALING_INTERVAL_S))

    async def _replace_hung(self) -> None:
        """Replace hung models; where that fails, only a new process can serve them."""
        while True:
            await asyncio.sleep(HEALING_INTERVAL_S)
            try:
                await self._manager.replace_hung()
            except ConfigError:
                # config.json is broken just now.
                continue

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        """Reload, as daemons do; but stop if the signal says that the terminal was closed."""
        if self._ends_with_terminal and not _has_terminal():
            self._on_signal(number, frame)
        elif not self._is_stopping:
            logger.info("SIGHUP: reloading what changed")
            self._loop.call_soon_threadsafe(self._start_reload)

    def _start_reload(self) -> None:
        reload = self._loop.create_task(self._reload())
        self._reloads.add(reload)
        reload.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        try:
            await asyncio.to_thread(self._listeners.secrets.reload)
            await self._manager.reload(retry_failed=True)
        except ServingError:
            # It has been logged.
            return
        except Exception:
            logger.exception("Reloading failed unexpectedly; serving goes on")

    async def _load_and_watch(self) -> None:
        await self._manager.load_all()
        if self._listeners.urls():
            await self._announce()
            logger.info(
                "Ready. To stop, press Ctrl-C: running requests have %g s to end. Ctrl-C again "
                "stops at once",
                self._drain_timeout_s,
            )
        if self._poll_interval_s and self._watcher is not None:
            await self._watcher.run()

    async def _watch_secrets(self) -> None:
        if self._poll_interval_s:
            await self._listeners.secrets.watch(self._poll_interval_s)

    async def _announce(self) -> None:
        num_available = len(self._manager.available_models())
        num_models = len(self._manager.served_names())
        urls = " ".join(self._listeners.urls())
        line = f"Serving on {urls} ({num_available} of {num_models} models)"
        if self._listeners.is_local():
            line += "; only from this machine: --rest_bind_address 0.0.0.0 opens it to the network"
        # In a thread: a full pipe that nobody reads blocks.
        await asyncio.to_thread(_announce, line)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_hangup_ignored() -> bool:
    return sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def _announce(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError as error:
        logger.warning("cannot write to standard output: %s", error.strerror)
        # Python would fail to write the rest of its buffer at the end (docs.python.org, signal).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
