"""The snapshots of all replicas as one, in the form of a single server's."""

import json
import os
from collections.abc import Mapping
from typing import Any

from server.protocol.json_text import json_bytes

__all__ = ["join_statuses"]


def join_statuses(
    texts: Mapping[int, bytes], problems: Mapping[int, str], reason: str | None, is_draining: bool
) -> bytes:
    """One answer to GET /v1/status, from that of each replica, by its number.

    `models` has those of all replicas; `replica` says whose each is. `problems` says why the other
    replicas have not answered. It takes milliseconds: a snapshot has an hour of history.
    """
    told = {number: json.loads(text) for number, text in texts.items()}
    first = next(iter(told.values()))
    server = {**first["server"], "pid": os.getpid(), "draining": is_draining}
    server |= {"ready": reason is None, "reason": reason}
    cpus = [each["cpu"] for each in told.values()]
    memories = [each["memory"] for each in told.values()]
    models = [
        {**model, "replica": number} for number, each in told.items() for model in each["models"]
    ]
    joined: dict[str, Any] = {
        **first,
        "server": server,
        "cpu": {**first["cpu"], **{name: _sum(cpus, name) for name in ("cores", "used_s")}},
        "memory": {
            "used_bytes": _sum(memories, "used_bytes"),
            # Each tells what is left of its share.
            "available_bytes": _sum(memories, "available_bytes"),
        },
        "models": sorted(models, key=lambda model: str(model["name"])),
        "replicas": [
            *(
                {"replica": number, **{name: each[name] for name in ("server", "cpu", "memory")}}
                for number, each in told.items()
            ),
            *({"replica": number, "problem": problem} for number, problem in problems.items()),
        ],
    }
    return json_bytes(joined)


def _sum(parts: list[dict[str, Any]], name: str) -> float:
    return round(sum(part[name] or 0 for part in parts), 2)
