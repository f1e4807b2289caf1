"""The process of a replica: `python -m server.cli.replicas.replica`, started by the front.

It reads from standard input where it runs, as a line of JSON, and then its settings, pickled. It
imports little before it is bound to its CPUs: libraries start threads when they are imported.
"""

import json
import os
import pickle
import sys

from server.host.child_processes import end_with_parent
from server.host.processors.binding import bind_process
from server.host.processors.topology import Place

__all__ = ["main"]


def main() -> int:
    """Serve until the front stops this process; returns the exit status."""
    end_with_parent()
    start = json.loads(sys.stdin.buffer.readline())
    if os.getppid() != start["front"]:
        # It ended before this process could be made to end with it.
        return 1
    sys.path[:] = start["path"]
    problem = bind_process(Place(tuple(start["cpus"]), start["node"], 1.0))
    settings, line = pickle.load(sys.stdin.buffer)
    # The real standard input is the front's pipe.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from server.cli.replicas.replica_server import serve_replica

    return serve_replica(line, settings, problem)


if __name__ == "__main__":
    sys.exit(main())
