"""A status of a server -> the lines that the terminal shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.terminal.text_width import fit, printable, text_width

__all__ = ["View"]

NOTHING = "-"
MIN_NAME_WIDTH = 10
GAP = 1
# A model that cannot serve has its reason below the table.
MAX_REASONS = 5


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers. In a narrow terminal those that come later in COLUMNS are left out."""

    title: str
    width: int


STATE = Column("STATE", 9)
COLUMNS = (
    Column("RUN", 4),
    Column("WAIT", 5),
    Column("OUT/S", 7),
    Column("TTFT", 7),
    Column("ITL", 7),
    Column("KV", 5),
    Column("HIT", 5),
    Column("IN/S", 7),
    Column("REQ/S", 6),
)


class View:
    """Makes lines of statuses that come one after the other: rates are between two of them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._last: Mapping[str, Any] | None = None

    def lines(
        self, status: Mapping[str, Any], columns: int | None = None, rows: int | None = None
    ) -> list[str]:
        """The lines, in at most so many columns and rows; None is no limit."""
        rows_of_models = [_row(model, self._before(model), status) for model in status["models"]]
        head = self._head(status)
        reasons = _reasons(status)
        self._last = status
        if not rows_of_models:
            body = ["There are no models."]
        else:
            room = None if rows is None else max(1, rows - len(head) - len(reasons) - 3)
            body = _table(rows_of_models, columns, room)
        lines = [*head, "", *body, *reasons]
        if columns is not None:
            lines = [fit(line, columns).rstrip() for line in lines]
        return lines if rows is None else lines[:rows]

    def _before(self, model: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The same model in the status before, with the time of that."""
        for other in () if self._last is None else self._last["models"]:
            if _name(other) == _name(model):
                return {**other, "time": self._last["time"] if self._last else 0.0}
        return None

    def _head(self, status: Mapping[str, Any]) -> list[str]:
        server, cpu, memory = status["server"], status["cpu"], status["memory"]
        state = "draining" if server["draining"] else "ready" if server["ready"] else "not ready"
        if server.get("reason"):
            state += f": {printable(server['reason'])}"
        first = [f"{server['name']} {server['version']}", self._url, _uptime(server["uptime_s"])]
        busy = self._busy(status)
        units = [name for name in ("amx", "avx512", "bf16") if cpu.get(name)]
        second = [
            f"cpu {busy} of {cpu['cores']} cores" if busy else f"{cpu['cores']} cores",
            *([" ".join(units)] if units else []),
            f"memory {_gigabytes(memory['used_bytes'])}",
            f"{_gigabytes(memory['available_bytes'])} free",
        ]
        return ["  ".join([*first, state]), "  ".join(second)]

    def _busy(self, status: Mapping[str, Any]) -> str:
        if self._last is None or status["time"] <= self._last["time"]:
            return ""
        seconds = status["time"] - self._last["time"]
        used = max(0.0, status["cpu"]["used_s"] - self._last["cpu"]["used_s"]) / seconds
        return f"{used:.1f}"


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    state: str
    cells: Mapping[str, str]
    load: int


def _row(
    model: Mapping[str, Any], before: Mapping[str, Any] | None, status: Mapping[str, Any]
) -> _Row:
    engine = model["engine"] or {}
    rates = _rates(model, before, status["time"])
    running = engine.get("running", model["requests"]["running"])
    waiting = engine.get("waiting")
    cells = {
        "RUN": str(running),
        "WAIT": NOTHING if waiting is None else str(waiting),
        "OUT/S": _number(rates.get("generated_tokens_per_s")),
        "IN/S": _number(rates.get("prompt_tokens_per_s")),
        "REQ/S": _number(rates.get("requests_per_s")),
    }
    if engine:
        cache, latencies = engine["prefix_cache"], engine.get("last_minute") or {}
        looked_up = cache["query_tokens"]
        cells |= {
            "KV": _percent(engine["kv_cache"]["usage"]),
            "HIT": _percent(cache["hit_tokens"] / looked_up) if looked_up else NOTHING,
            "TTFT": _seconds((latencies.get("first_token_s") or {}).get("p50")),
            "ITL": _seconds((latencies.get("inter_token_s") or {}).get("p50")),
        }
    state = "unloaded" if _is_unloaded(model) else model["state"].lower()
    return _Row(printable(_name(model)), state, cells, running + (waiting or 0))


def _name(model: Mapping[str, Any]) -> str:
    version = str(model["version"])
    name = model["name"] if version in {"", "1"} else f"{model['name']}:{version}"
    return f"{name} #{model['replica']}" if "replica" in model else name


def _is_unloaded(model: Mapping[str, Any]) -> bool:
    return model["state"] == "AVAILABLE" and not model["loaded"]


def _rates(
    model: Mapping[str, Any], before: Mapping[str, Any] | None, time_s: float
) -> Mapping[str, float | None]:
    """Per second since the status before, or else in the last interval of the history."""
    if before is None:
        history = model["history"]
        points = history["points"]
        return dict(zip(history["fields"], points[-1], strict=False)) if points else {}
    seconds = max(0.1, time_s - before["time"])
    found: dict[str, float | None] = {
        "requests_per_s": max(0, model["requests"]["total"] - before["requests"]["total"]) / seconds
    }
    for name in ("generated_tokens", "prompt_tokens"):
        now, earlier = ((each["engine"] or {}).get(name) for each in (model, before))
        if now is not None and earlier is not None:
            # Counters begin again where a model is replaced.
            found[f"{name}_per_s"] = max(0, now - earlier) / seconds
    return found


def _table(rows: Sequence[_Row], columns: int | None, room: int | None) -> list[str]:
    shown = _busiest(rows, room)
    widest = max(text_width(row.name) for row in (*shown, _Row("MODEL", "", {}, 0)))
    taken = STATE.width + GAP
    chosen = []
    for column in COLUMNS:
        needed = taken + column.width + GAP
        if columns is not None and needed + min(widest, MIN_NAME_WIDTH) > columns:
            break
        chosen.append(column)
        taken = needed
    width = widest if columns is None else max(1, min(widest, columns - taken))
    lines = [_line("MODEL", width, STATE.title, {c.title: c.title for c in chosen}, chosen)]
    lines += [_line(row.name, width, row.state, row.cells, chosen) for row in shown]
    if len(shown) < len(rows):
        lines.append(f"and {len(rows) - len(shown)} more models, with less to do")
    return lines


def _busiest(rows: Sequence[_Row], room: int | None) -> Sequence[_Row]:
    """As many rows as there is room for, in their own order."""
    if room is None or len(rows) <= room:
        return rows
    by_load = sorted(range(len(rows)), key=lambda i: (-rows[i].load, i))
    return [rows[i] for i in sorted(by_load[:room])]


def _line(
    name: str, width: int, state: str, cells: Mapping[str, str], chosen: Sequence[Column]
) -> str:
    numbers = (fit(cells.get(c.title, NOTHING), c.width, is_number=True) for c in chosen)
    gap = " " * GAP
    return gap.join([fit(name, width), fit(state, STATE.width), *numbers]).rstrip()


def _reasons(status: Mapping[str, Any]) -> list[str]:
    """Why replicas do not answer, and why models cannot serve."""
    replicas = [each for each in status.get("replicas", ()) if "problem" in each]
    lines = [printable(f"replica {each['replica']}: {each['problem']}") for each in replicas]
    found = [f"{_name(m)}: {m['reason']}" for m in status["models"] if m.get("reason")]
    lines += [printable(" ".join(text.split())) for text in found[:MAX_REASONS]]
    if len(found) > MAX_REASONS:
        lines.append(f"and {len(found) - MAX_REASONS} more models that cannot serve")
    return ["", *lines] if lines else []


def _number(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.0f}%"


def _seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{1000 * value:.0f}ms" if value < 1 else f"{value:.1f}s"


def _gigabytes(num_bytes: int | None) -> str:
    return NOTHING if num_bytes is None else f"{num_bytes / 1e9:.1f} GB"


def _uptime(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        return f"up {days} d {hours % 24} h"
    if hours:
        return f"up {hours} h {minutes % 60} min"
    return f"up {minutes} min" if minutes else f"up {seconds:.0f} s"
