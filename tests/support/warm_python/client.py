"""Stands for a Python executable: has fork_server.py run the command line, with what this process
has of standard streams, environment and limits, and ends as that program ends.

It is run without site-packages, so that it starts in milliseconds.
"""

import marshal
import os
import resource
import signal
import socket
import struct
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
MAX_DESCRIPTORS = 250


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def main(path: str) -> None:
    """Ask the server at this socket, and wait."""
    limits = (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)
    # Sockets of the caller are known to the program by their numbers.
    descriptors = [number for number in range(MAX_DESCRIPTORS) if is_open(number)]
    request = {
        "descriptors": descriptors,
        "executable": sys.argv[0],
        "arguments": sys.argv[1:],
        "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ),
        "limits": {kind: resource.getrlimit(kind) for kind in limits},
    }
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(path)
    socket.send_fds(connection, [marshal.dumps(request)], descriptors)
    for number in SIGNALS:
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    (status,) = struct.unpack("i", connection.recv(4))
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))
