"""Wires the server: configuration -> models -> HTTP, from the first line to the last signal."""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence

from server.api.http_server import HttpServer, open_sockets
from server.check import check_models
from server.command_line import Arguments, parse_arguments
from server.config import ServerConfig
from server.errors import ConfigError
from server.graph import list_calculators
from server.model_manager import ModelManager

__all__ = ["main"]

logger = logging.getLogger("server")

TRACE = 5
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A thread that is busy, with loading a model say, cannot be stopped; nobody waits longer for it.
THREAD_TIMEOUT_S = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    _set_up_logging(arguments.log_level)
    if arguments.list_calculators:
        _print_calculators()
        return 0
    try:
        config = arguments.load_config()
        if arguments.check:
            return check_models(config)
        return _serve(arguments, config)
    except ConfigError as error:
        logger.error("%s", error)
        return 1


def _set_up_logging(level: str) -> None:
    logging.addLevelName(TRACE, "TRACE")
    logging.basicConfig(
        level=TRACE if level == "TRACE" else level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def _print_calculators() -> None:
    for name, description, origin in list_calculators():
        print(f"{name}\n    {description}\n    from {origin}")


def _serve(arguments: Arguments, config: ServerConfig) -> int:
    sockets = open_sockets(arguments.rest_bind_address, arguments.rest_port)
    # Not asyncio.run: it waits at its end for worker threads, however long a model still loads.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_Server(arguments, config, sockets).run())
    finally:
        loop.close()
    _leave_worker_threads()
    return 0


def _leave_worker_threads() -> None:
    """Wait a little for threads that are still busy, then end the process without them."""
    deadline = time.monotonic() + THREAD_TIMEOUT_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("Leaving while %s is still busy", thread.name)
                _exit_at_once()


def _exit_at_once() -> None:
    logging.shutdown()
    os._exit(0)


class _Server:
    """The running server and its way to the end."""

    def __init__(
        self, arguments: Arguments, config: ServerConfig, sockets: Sequence[socket.socket]
    ) -> None:
        self._drain_timeout_s = arguments.drain_timeout_s
        self._sockets = sockets
        self._manager = ModelManager(config)
        self._http = HttpServer(self._manager, sockets)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal comes, then come to an end."""
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        # Before the models: probes get an answer while they load.
        await self._http.start()
        logger.info("Listening on %s", ", ".join(self._urls()))
        loading = asyncio.create_task(self._load())
        await self._stop.wait()
        loading.cancel()
        await self._manager.close(self._drain_timeout_s)
        await self._http.stop()
        await asyncio.wait([loading], timeout=THREAD_TIMEOUT_S)
        if not loading.done():
            logger.warning("Stopped while a model was still loading")
            _exit_at_once()
        logger.info("Stopped")

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            logger.warning("%s again: stopping at once", number.name)
            _exit_at_once()
        logger.info("%s: no new requests; those that run may end", number.name)
        self._stop.set()

    async def _load(self) -> None:
        await self._manager.load_all()
        num_available = len(self._manager.available_models())
        num_models = len(self._manager.served_names())
        line = f"Serving on {' '.join(self._urls())} ({num_available} of {num_models} models)"
        if all(url.startswith(("http://127.", "http://[::1]")) for url in self._urls()):
            line += "; only from this machine: --rest_bind_address 0.0.0.0 opens it to the network"
        print(line, flush=True)

    def _urls(self) -> list[str]:
        urls = []
        for opened in self._sockets:
            host, port = opened.getsockname()[:2]
            urls.append(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        return urls
