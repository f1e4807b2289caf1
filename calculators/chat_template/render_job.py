"""What travels between the server and the process that renders templates.

A process sends READY once. A job is some pickled values: a `JobHeader`, then slices of the lists
that it names. The answer is ANSWER_HEAD (a Status, the number of texts), then TEXT_HEAD (the bytes)
and UTF-8 for each text.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

__all__ = ["ANSWER_HEAD", "READY", "TEXT_HEAD", "JobHeader", "Status"]

READY = b"R"
ANSWER_HEAD = struct.Struct("!BI")
TEXT_HEAD = struct.Struct("!Q")


class Status(IntEnum):
    """What a job came to; all but OK have a message as their only text."""

    OK = 0
    REFUSED = 1
    """The template called raise_exception."""
    LIMIT = 2
    FAILED = 3
    SYNTAX = 4
    TOO_LONG = 5
    """It made more than MAX_RENDERED_CHARACTERS."""


@dataclass(frozen=True)
class JobHeader:
    """What is done with the template `source`, within `time_limit_s` of processor time.

    It is rendered with each of `variable_sets`; without any it is only compiled, and the answer is
    the names that it reads. `lists` are further variables, the same in all sets, each with the
    number of slices that are sent of it, so that no pickle is large.
    """

    source: str
    now: datetime
    time_limit_s: float
    variable_sets: tuple[Mapping[str, Any], ...] = ()
    lists: Mapping[str, int] = field(default_factory=dict)
