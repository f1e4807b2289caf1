"""Renders templates in a process of its own: `python -m ...render_worker <descriptor>`.

A template is code of others: any operation of it, a `center` or a `sort`, may take for ever or all
memory, and holds Python's lock meanwhile. Here the operating system bounds it: a timer ends the
process, and memory beyond the limit is refused. This module imports little, to start quickly.
"""

import pickle
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from typing import IO, Any

import jinja2
from jinja2 import meta

from calculators.chat_template.render_job import ANSWER_HEAD, READY, TEXT_HEAD, JobHeader, Status
from calculators.chat_template.sandbox import (
    NOW,
    RefusedByTemplateError,
    Sandbox,
    TemplateLimitError,
    TextTooLongError,
    join_bounded,
)

__all__ = ["MAX_MEMORY_MB"]

MAX_MEMORY_MB = 512
MAX_TEMPLATES = 64
MAX_ERROR_CHARACTERS = 2000


def main() -> None:
    """Do one job after the other until the other end closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limit = MAX_MEMORY_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # A process that crashes on purpose should not fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = socket.socket(fileno=int(sys.argv[1]))
    with connection.makefile("rb") as inbox, connection.makefile("wb") as outbox:
        renderer = _Renderer()
        outbox.write(READY)
        outbox.flush()
        while True:
            try:
                status, texts = renderer.run(inbox)
            except EOFError:
                return
            except MemoryError:
                status, texts = Status.LIMIT, [f"it needs more than {MAX_MEMORY_MB} MB of memory"]
            _send(outbox, status, texts)


def _send(outbox: IO[bytes], status: Status, texts: list[str]) -> None:
    outbox.write(ANSWER_HEAD.pack(status, len(texts)))
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        outbox.write(TEXT_HEAD.pack(len(raw)))
        outbox.write(raw)
    outbox.flush()


class _Renderer:
    def __init__(self) -> None:
        self._environment = Sandbox()
        self._compiled: dict[str, jinja2.Template] = {}

    def run(self, inbox: IO[bytes]) -> tuple[Status, list[str]]:
        """Do one job; raises EOFError when there is none any more."""
        header: JobHeader = pickle.load(inbox)
        variable_sets = list(_read_variables(header, inbox))
        # Of processor time: other programs may have all cores. The default action of SIGPROF ends
        # the process, whatever it does.
        signal.setitimer(signal.ITIMER_PROF, header.time_limit_s)
        try:
            return Status.OK, self._render(header, variable_sets)
        except jinja2.TemplateSyntaxError as error:
            return Status.SYNTAX, _message(f"line {error.lineno}: {error.message}")
        except RefusedByTemplateError as error:
            return Status.REFUSED, _message(str(error))
        except TextTooLongError as error:
            return Status.TOO_LONG, _message(str(error))
        except TemplateLimitError as error:
            return Status.LIMIT, _message(str(error))
        except MemoryError:
            raise
        # A template is code: what it makes of unexpected messages can raise anything.
        except Exception as error:
            return Status.FAILED, _message(f"{type(error).__name__}: {error}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _render(self, header: JobHeader, variable_sets: list[dict[str, Any]]) -> list[str]:
        source = header.source
        template = self._compiled.get(source)
        if template is None:
            if len(self._compiled) >= MAX_TEMPLATES:
                self._compiled.clear()
            template = self._compiled[source] = self._environment.from_string(source)
        if not variable_sets:
            return sorted(meta.find_undeclared_variables(self._environment.parse(source)))
        return [join_bounded(template.generate(v, **{NOW: header.now})) for v in variable_sets]


def _read_variables(header: JobHeader, inbox: IO[bytes]) -> Iterator[dict[str, Any]]:
    lists = {
        name: [item for _ in range(num_slices) for item in pickle.load(inbox)]
        for name, num_slices in header.lists.items()
    }
    for variables in header.variable_sets:
        yield {**variables, **lists}


def _message(text: str) -> list[str]:
    return [text[:MAX_ERROR_CHARACTERS]]


if __name__ == "__main__":
    main()
