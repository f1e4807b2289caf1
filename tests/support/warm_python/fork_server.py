"""Imports torch and the converters once; each Python program that is asked for is a fork of it.

`python fork_server.py SOCKET` ends with its standard input. client.py asks on SOCKET.
"""

import atexit
import fcntl
import gc
import marshal
import os
import resource
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any

# What the tools of export_models and the makers of models import for seconds.
MODULES = (
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.generation",
    "diffusers",
    "optimum.commands.optimum_cli",
    "optimum.exporters.openvino.model_configs",
    "optimum.exporters.openvino.__main__",
    "optimum.intel.openvino",
    "nncf",
    "openvino_tokenizers",
)
MAX_REQUEST = 2**20
# No program has so many, so that none is in the way of another.
MAX_DESCRIPTORS = 250


def main(path: str) -> None:
    """Serve until standard input ends; in a fork, run the program that it is for."""
    for name in MODULES:
        with suppress(ImportError):
            import_module(name)
    # Else the first collection of a program would copy all of it.
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    # Nobody waits for the keepers.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            break
        connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST, MAX_DESCRIPTORS)
    program = os.fork()
    if program:
        keep(program, connection)
    connection.close()
    end(run(marshal.loads(data), descriptors))


def keep(program: int, connection: socket.socket) -> None:
    """Hand on the signals that the client gets, and in the end the status; does not return.

    The program ends with its client.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    ended = os.pidfd_open(program)
    while True:
        readable, _, _ = select.select([connection, ended], [], [])
        if ended in readable:
            break
        numbers = connection.recv(64) or bytes([signal.SIGKILL])
        for number in numbers:
            os.kill(program, number)
        if signal.SIGKILL in numbers:
            break
    _, status = os.waitpid(program, 0)
    with suppress(OSError):
        connection.send(struct.pack("i", status))
    os._exit(0)


def run(request: dict[str, Any], descriptors: list[int]) -> int:
    """Run the program of a command line as Python does; returns its exit code."""
    os.setpgid(0, 0)
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, MAX_DESCRIPTORS) for number in descriptors]
    os.closerange(0, MAX_DESCRIPTORS)
    for number, descriptor in zip(request["descriptors"], high, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    for kind, limits in request["limits"].items():
        resource.setrlimit(kind, limits)
    os.environ.clear()
    os.environ.update(request["environment"])
    # Those of Python have the same numbers again.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through="PYTHONUNBUFFERED" in os.environ)  # type: ignore[union-attr]
    sys.executable = request["executable"]
    try:
        run_line(request["arguments"])
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
            return 1
        return int(ending.code or 0)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> None:
    """End as Python does, but leave what was imported: to take it apart takes a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)


def run_line(arguments: list[str]) -> None:
    """`[-P] FILE ...`, `[-P] -m MODULE ...` or `[-P] -c CODE ...`."""
    is_safe = arguments[0] == "-P"
    first, *rest = arguments[is_safe:]
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    # Without the folder of this file.
    sys.path[:1] = places
    if first not in {"-m", "-c"}:
        sys.argv = [first, *rest]
        if not is_safe:
            sys.path.insert(0, os.path.dirname(os.path.abspath(first)))  # noqa: PTH100, PTH120
        runpy.run_path(first, run_name="__main__")
        return
    sys.argv = [first, *rest[1:]]
    if not is_safe:
        sys.path.insert(0, os.getcwd() if first == "-m" else "")  # noqa: PTH109
    if first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(sys.argv[1])
