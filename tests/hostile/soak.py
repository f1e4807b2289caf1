"""Mixed traffic for long: what the server takes at the end is what it took after the warm-up."""

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hostile.repository import TEMPLATED_BLOCKS, write_repository
from hostile.run import LOG, all_blocks, attacked
from hostile.schema_fuzz import fields_of
from hostile.target import Target, targeted
from hostile.traffic import Traffic
from hostile.watcher import Watcher
from support.server_process import ROOT, ServerProcess

__all__ = ["Tolerance", "main", "soak"]

# Until free memory of the C library, and pools of threads, have grown to what stays.
WARM_UP_S = 300.0
# Requests that are still running end, graphs that were replaced close, memory is given back.
SETTLE_S = 45.0
PART_MINUTES = 5
CHAT_BLOCKS = 1024
# A request of so many tokens fills almost as many blocks as it can.
FILLING_TOKENS = 1900
BLOCK_TOKENS = 32
LONGEST_TRACEBACK = 80
# The second is what injected faults lead to; other causes have a traceback of their own.
EXPECTED_CAUSES = ("an injected fault", "steps in a row failed")


@dataclass(frozen=True)
class Tolerance:
    """How much more may be taken at the end. A model that is loaded again does not get the same
    memory back to the byte; threads are those of pools, which grow as they are needed.
    """

    rss_mb: float = 150.0
    descriptors: int = 5
    threads: int = 8
    tasks: int = 3


@dataclass
class State:
    """What a quiet server takes."""

    minute: float
    rss_mb: float
    descriptors: int
    threads: int
    tasks: int

    def row(self) -> str:
        """A line of the table."""
        cells = (self.minute, self.rss_mb, self.descriptors, self.threads, self.tasks)
        return f"| {' | '.join(f'{cell:.0f}' for cell in cells)} |"


async def look(server: ServerProcess, watcher: Watcher, minute: float) -> State:
    """Let the server come to rest, and see what it takes; no client holds a connection.

    KV caches take memory when their blocks are first written, and begin anew when their model is
    loaded again. So they are filled before.
    """
    async with targeted(server) as target:
        await fill_cache(target, "tiny_chat", CHAT_BLOCKS, seed=round(minute))
        await fill_cache(target, "templated", TEMPLATED_BLOCKS, seed=round(minute))
        await all_blocks(target)
    await asyncio.sleep(SETTLE_S)
    async with targeted(server) as target:
        tasks = await count_tasks(target)
    found = await asyncio.to_thread(watcher.take)
    return State(minute, found.rss_mb, found.descriptors, found.threads, tasks)


async def fill_cache(target: Target, model: str, num_blocks: int, seed: int) -> None:
    """Write to every KV block of a model: prompts that nobody has sent need new ones."""
    rng = random.Random(seed)
    # Some blocks are used twice before others are used once.
    for _ in range(num_blocks * BLOCK_TOKENS * 5 // 4 // FILLING_TOKENS + 1):
        prompt = [rng.randrange(3, 2000) for _ in range(FILLING_TOKENS)]
        body = {"model": model, "prompt": prompt, "max_tokens": 1}
        status, answer = await target.post("/v3/completions", body)
        target.expect(status == 200, f"filling a KV cache: {status} {answer[:200]!r}")


async def count_tasks(target: Target) -> int:
    """The tasks of the server's event loop, from its metrics; 0 where it does not say."""
    async with target.http.get("/metrics") as response:
        text = await response.text()
    found = re.search(r"^asyncio_tasks\S* ([\d.e+]+)", text, re.MULTILINE)
    return 0 if found is None else int(float(found[1]))


def count_tracebacks(log: Sequence[str]) -> int:
    """How many tracebacks are neither those of injected faults nor of a user."""
    places = (i for i, line in enumerate(log) if line.startswith("Traceback"))
    texts = ("".join(log[i : i + LONGEST_TRACEBACK]) for i in places)
    return sum(not any(cause in text for cause in EXPECTED_CAUSES) for text in texts)


def compare(start: State, end: State, allowed: Tolerance) -> list[str]:
    """A line for each figure that has grown too much."""
    problems = []
    for name in ("rss_mb", "descriptors", "threads", "tasks"):
        growth = getattr(end, name) - getattr(start, name)
        if growth > getattr(allowed, name):
            problems.append(f"{name} grew by {growth:.0f}; allowed: {getattr(allowed, name)}")
    return problems


async def soak(config: Path, minutes: float, warm_up_s: float = WARM_UP_S) -> list[str]:
    """Run the traffic, print the figures, and return what is wrong."""
    total = Counter[str]()
    problems: list[str] = []

    async def run_part(seconds: float) -> None:
        async with targeted(server) as target:
            traffic = Traffic(target, config, faults, fields, seed=len(states))
            if not states:
                await traffic.warm_up()
            await traffic.run(seconds)
            await target.check_chat()
            await traffic.ask_each()
            await all_blocks(target)
        total.update(target.counts)
        found = sorted(set(target.faults))[:20]
        problems.extend(found)
        for problem in found:
            print(problem, file=sys.stderr, flush=True)

    faults = config.parent / "faults"
    faults.mkdir(exist_ok=True)
    program = (ROOT / "tests" / "faults" / "faulty_server.py", faults)
    with attacked("--config_path", config, program=program) as (server, watcher):
        fields = fields_of((await asyncio.to_thread(server.get, "/openapi.json"))[1])
        states: list[State] = []
        print("| minute | RSS, MB | descriptors | threads | tasks |")
        print("|---|---|---|---|---|", flush=True)
        num_parts = max(1, round(minutes / PART_MINUTES))
        start_s = time.monotonic()
        for seconds in (warm_up_s, *[minutes * 60 / num_parts] * num_parts):
            await run_part(seconds)
            states.append(await look(server, watcher, (time.monotonic() - start_s) / 60))
            print(states[-1].row(), flush=True)
    counts = ", ".join(f"{number} x {what}" for what, number in sorted(total.items()))
    print(f"\n{sum(total.values())} requests: {counts}")
    num_tracebacks = count_tracebacks(server.log)
    if num_tracebacks:
        problems.append(f"{num_tracebacks} tracebacks in {LOG}")
    return problems + compare(states[0], states[-1], Tolerance())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where something grew, or an answer was wrong."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="how long (default: 60)")
    line = parser.parse_args(arguments)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as name:
        config = write_repository(Path(name), media=False, chat_blocks=CHAT_BLOCKS)
        problems = asyncio.run(soak(config, line.minutes))
    print("\n".join(["", *(f"- {problem}" for problem in problems)] if problems else ["", "OK"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
