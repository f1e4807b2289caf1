"""Attacks a server of its own with hostile input; prints a table. `make hostile` runs it."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
from hostile.cases import connections, framing, grpc_garbage, keys, sizes, words
from hostile.fuzz import Fuzzer
from hostile.report import Bounds, Row, broken_bounds, markdown
from hostile.repository import write_repository
from hostile.schema_fuzz import count_statuses, fields_of, run_schemathesis
from hostile.target import Target, targeted
from hostile.watch import MAX_RSS_MB, Figures
from hostile.watcher import Watcher, watching
from support.e2e_names import SMALL_TOKENS
from support.server_process import ROOT, ServerProcess, server_process

__all__ = ["attack", "main"]

Attack = Callable[[Target], Awaitable[None]]
FUZZ_SLICE = 5000
KEYS = "guessed API keys"
ENDED = f"the server has ended, or was killed because it took more than {MAX_RSS_MB:.0f} MB"
CASE_TIMEOUT_S = 300
CONTROL_S = 20.0
LOG = ROOT / "build" / "hostile" / "server.log"


def cases() -> dict[str, dict[str, Attack]]:
    """Every case by its group and its name."""
    modules = [connections, framing, words, sizes, grpc_garbage]
    if find_spec("soundfile") is not None:
        from hostile.cases import media

        modules.append(media)
    return {module.__name__.rpartition(".")[2]: module.CASES for module in modules}


def fuzzing(number: int, folder: Path) -> dict[str, dict[str, Attack]]:
    """Cases that send about so many random requests together: a quarter are schemathesis's."""
    # An example of schemathesis's is tried on each of some 80 operations.
    examples = max(2, number // 4 // 80)
    left = number - number // 4
    random_requests: dict[str, Attack] = {
        f"random requests, seed {seed}": partial(fuzz, min(FUZZ_SLICE, left - start), seed)
        for seed, start in enumerate(range(0, left, FUZZ_SLICE), 1)
    }
    from_schema: dict[str, Attack] = {"schemathesis": partial(schemathesis, folder, examples)}
    return {"fuzz": random_requests, "schemathesis": from_schema}


def chosen(groups: Mapping[str, Mapping[str, Attack]], text: str) -> dict[str, Attack]:
    """The cases with this text in their names, or in that of their group."""
    return {
        name: case
        for group, members in groups.items()
        for name, case in members.items()
        if text in group or text in name
    }


async def fuzz(number: int, seed: int, target: Target) -> None:
    """Send random requests."""
    document = await asyncio.to_thread(target.server.get, "/openapi.json")
    await Fuzzer(target, fields_of(document[1]), seed).run(number)


async def schemathesis(folder: Path, examples: int, target: Target) -> None:
    """Run schemathesis; the access log says how it was answered."""
    before = len(target.server.log)
    result = await asyncio.to_thread(run_schemathesis, target.server.url, folder, examples)
    counts = count_statuses(target.server.log[before:])
    target.counts += counts
    found = result.stdout[-3000:] + result.stderr[-1000:]
    target.expect(result.returncode == 0, f"schemathesis: {found}")


async def attack(target: Target, watcher: Watcher, name: str, case: Attack) -> Row:
    """Run a case, and see that the server answers a plain question afterwards."""
    target.counts, target.faults = Counter(), []
    watcher.take()
    start = time.monotonic()
    try:
        async with asyncio.timeout(CASE_TIMEOUT_S):
            await case(target)
    except TimeoutError:
        target.faults.append(f"the case takes longer than {CASE_TIMEOUT_S} s")
    except (aiohttp.ClientError, OSError) as error:
        target.faults.append(f"the case cannot go on: {error!r}")
    seconds = time.monotonic() - start
    recovery_s = await target.check_chat()
    figures = await asyncio.to_thread(watcher.take)
    return Row(name, seconds, figures, recovery_s, target.counts, target.faults)


async def control(target: Target, watcher: Watcher, seconds: float) -> Row:
    """An idle server, after a warm-up."""

    async def idle(_: Target) -> None:
        await asyncio.sleep(seconds)

    for _ in range(5):
        await target.check_chat()
    return await attack(target, watcher, "(idle)", idle)


async def all_blocks(target: Target) -> None:
    """A request that needs every KV block of the model `small` runs only if all are free."""
    prompt = [5] * 100
    body = {"model": "small", "prompt": prompt, "max_tokens": SMALL_TOKENS - 100}
    status, answer = await target.post("/v3/completions", {**body, "ignore_eos": True})
    target.expect(status == 200, f"KV blocks are lost: {answer[:200]!r}")


@contextmanager
def attacked(*arguments: object, **program: Any) -> Iterator[tuple[ServerProcess, Watcher]]:
    """A server and its watcher; the log is kept."""
    with server_process("--port", "0", *arguments, **program) as server:
        port = int(server.url.rpartition(":")[2])
        try:
            with watching(port, server.process.pid) as watcher:
                yield server, watcher
        finally:
            with LOG.open("a") as file:
                file.writelines(server.log)


async def run_cases(config: Path, pending: dict[str, Attack], control_s: float) -> list[Row]:
    """All cases, on one server as long as it lives; the first row is the idle server's."""
    rows: list[Row] = []
    pending = {**pending, "all KV blocks are free": all_blocks}
    while pending:
        with attacked("--config_path", config) as (server, watcher):
            async with targeted(server) as target:
                rows.append(await control(target, watcher, control_s))
                while pending and await _run_next(target, watcher, pending, rows):
                    pass
            faults = [line for line in server.log if line.startswith("Traceback")]
            if faults:
                rows[-1].faults.append(f"{len(faults)} tracebacks in {LOG}")
    return rows


async def _run_next(
    target: Target, watcher: Watcher, pending: dict[str, Attack], rows: list[Row]
) -> bool:
    """Run the next case; returns whether the server can go on."""
    name = next(iter(pending))
    case = pending.pop(name)
    try:
        row = await attack(target, watcher, name, case)
    except RuntimeError:
        row = Row(name, 0.0, Figures(), faults=[ENDED])
    rows.append(row)
    print(markdown([row]).splitlines()[2], file=sys.stderr, flush=True)
    for fault, number in Counter(row.faults).most_common(5):
        print(f"    {number} x {fault}", file=sys.stderr, flush=True)
    if any("afterwards" in fault for fault in row.faults):
        target.server.process.kill()
    return target.server.process.poll() is None


async def run_keys(folder: Path) -> list[Row]:
    """Guess the key of a server that has one."""
    file = folder / "key"
    file.write_text(keys.KEY)
    flags = ("--api_key_file", file, "--api_key_protects", "all_but_health")
    with attacked("tiny_chat", *flags) as (server, watcher):
        async with targeted(server, keys.KEY) as target:
            await target.check_chat()
            return [await attack(target, watcher, KEYS, keys.guess_keys)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make hostile", description=__doc__)
    add = parser.add_argument
    add("--requests", type=int, default=3000, help="random requests (default: 3000)")
    only = "only the cases with this text in their names, or in those of their groups"
    add("--only", default="", metavar="TEXT", help=only)
    add("--control_s", type=float, default=CONTROL_S, help="seconds of the idle server")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where a bound is broken."""
    line = parse(arguments)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = chosen({**cases(), **fuzzing(line.requests, folder)}, line.only)
        rows = asyncio.run(run_cases(write_repository(folder), found, line.control_s))
        if line.only in KEYS or line.only in "keys":
            rows += asyncio.run(run_keys(folder))
    print(markdown(rows))
    problems = broken_bounds(rows[0], rows, Bounds())
    print("\n".join(["", *(f"- {problem}" for problem in problems)] if problems else ["", "OK"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
