"""Into how many processes the server divides, as the command line says it."""

import argparse
from dataclasses import dataclass

from server.terminal.flag_parser import AddFlag
from server.terminal.flag_values import at_least

__all__ = ["AUTO", "ReplicaArguments", "add_replica_flags"]

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ReplicaArguments:
    """The flags about replicas. With one there is no front."""

    replicas: int | str
    max_replica_imbalance: int


def add_replica_flags(add: AddFlag) -> None:
    """Add the flags of a `ReplicaArguments`."""
    add(
        "--replicas",
        type=_number,
        default=1,
        metavar="NUMBER",
        help="Divide the cores among so many processes, each with all models, behind one address; "
        "auto takes one for each NUMA node (default: 1, a single process).",
    )
    add(
        "--max_replica_imbalance",
        type=at_least(0),
        default=8,
        metavar="NUMBER",
        help="A conversation goes on at the replica that has its prompt, unless that one works on "
        "more requests than the least busy one by more than this (default: 8).",
    )


def _number(text: str) -> int | str:
    if text == AUTO:
        return AUTO
    try:
        return at_least(1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from error
