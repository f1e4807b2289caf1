"""The command `server` from its arguments to its exit status."""

import logging
import os
from collections.abc import Sequence

from server.cli.command_line import CommandLine, parse_command_line
from server.cli.log.log_writer import LogWriter
from server.cli.modes import run_mode
from server.cli.replicas.plan import plan_places
from server.errors import ConfigError

__all__ = ["run"]

logger = logging.getLogger("server")


def run(argv: Sequence[str]) -> int:
    """Do what the arguments say; returns the exit status."""
    line = parse_command_line(argv)
    log = LogWriter(line.log.log_level, line.log.log_format)
    try:
        status = _run(line, log)
    finally:
        log.close()
    if log.is_stuck:
        os._exit(status)
    return status


def _run(line: CommandLine, log: LogWriter) -> int:
    try:
        if line.log.log_path is not None:
            log.add_file(line.log.log_path)
        for text in line.warnings:
            logger.warning("%s", text)
        for text in line.notes:
            logger.info("%s", text)
        status = run_mode(line)
        if status is not None:
            return status
        places = plan_places(line.replicas.replicas)
        if places:
            from server.cli.replicas.group import serve_replicas

            return serve_replicas(line, places, log)
        from server.cli.single_server import serve

        return serve(line, log)
    except ConfigError as error:
        logger.error("%s", error)
        return 1
