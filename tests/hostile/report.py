"""What the attacks showed: a Markdown table, and which bounds were broken."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hostile.watch import Figures

__all__ = ["Bounds", "Row", "broken_bounds", "markdown"]

COLUMNS = ("case", "s", "answers", "worst stall, ms", "most MB", "MB after", "chat after, s")
# Of each case.
MAX_FAULTS = 20


@dataclass(frozen=True)
class Bounds:
    """What must hold after each case; stalls are beyond those of an idle server."""

    stall_ms: float = 100.0
    peak_growth_mb: float = 1500.0
    recovery_s: float = 30.0


@dataclass
class Row:
    """A case: how the server answered, what it cost, and how long until it answered others."""

    name: str
    seconds: float
    figures: Figures
    recovery_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def markdown(rows: Sequence[Row]) -> str:
    """The table, and below it the sum of all rows."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        found = row.figures
        cells = [row.name, f"{row.seconds:.0f}", _counts(row.counts), f"{found.stall_ms:.0f}"]
        cells += [f"{found.peak_rss_mb:.0f}", f"{found.rss_mb:.0f}", f"{row.recovery_s:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    total: Counter[str] = sum((row.counts for row in rows), Counter())
    lines += ["", f"{sum(total.values())} requests and connections: {_counts(total)}."]
    return "\n".join(lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{number} x {what}" for what, number in sorted(counts.items())) or "-"


def broken_bounds(control: Row, rows: Iterable[Row], bounds: Bounds) -> list[str]:
    """A line for each fault and each bound that a case broke."""
    problems = []
    for row in rows:
        found = row.figures
        stall_ms = found.stall_ms - control.figures.stall_ms
        growth_mb = found.peak_rss_mb - control.figures.rss_mb
        if stall_ms > bounds.stall_ms:
            problems.append(f"{row.name}: the event loop stalled for {stall_ms:.0f} ms")
        if growth_mb > bounds.peak_growth_mb:
            problems.append(f"{row.name}: memory grew by {growth_mb:.0f} MB")
        if row.recovery_s > bounds.recovery_s:
            problems.append(f"{row.name}: a chat waited {row.recovery_s:.0f} s afterwards")
        faults = Counter(row.faults).most_common(MAX_FAULTS)
        problems += [f"{row.name}: {number} x {fault}" for fault, number in faults]
    return problems
