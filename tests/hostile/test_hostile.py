"""A few cases of the suite, and proof that it notices what it is there to notice."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import run, soak
from hostile.report import Bounds, Row, broken_bounds
from hostile.repository import write_repository
from hostile.run import attack, attacked
from hostile.target import Target, targeted
from hostile.watch import Figures
from hostile.watcher import Watcher
from support.server_process import ServerProcess

CASES = [
    "request smuggling",
    "broken and strange HTTP",
    "paths as names",
    "text for headers and logs",
    "deep nesting",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    return write_repository(folder, media=False, chat_blocks=soak.CHAT_BLOCKS)


@pytest.fixture(scope="module")
def attacked_server(
    config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, Watcher]]:
    run.LOG = tmp_path_factory.mktemp("log") / "server.log"
    with attacked("--config_path", config) as found:
        yield found


@pytest.mark.parametrize("name", CASES)
async def test_a_case(attacked_server: tuple[ServerProcess, Watcher], name: str) -> None:
    server, watcher = attacked_server
    async with targeted(server) as target:
        row = await attack(target, watcher, name, run.chosen(run.cases(), name)[name])
    assert row.faults == []
    assert sum(row.counts.values()) > 10


async def test_random_requests(attacked_server: tuple[ServerProcess, Watcher]) -> None:
    server, watcher = attacked_server
    async with targeted(server) as target:

        async def fuzz(target: Target) -> None:
            await run.fuzz(400, 7, target)

        row = await attack(target, watcher, "random", fuzz)
    assert row.faults == []
    assert sum(row.counts.values()) >= 400


async def test_the_watcher_notices_a_stall(attacked_server: tuple[ServerProcess, Watcher]) -> None:
    server, watcher = attacked_server

    async def stop(_: Target) -> None:
        server.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.6)
        server.process.send_signal(signal.SIGCONT)

    async with targeted(server) as target:
        row = await attack(target, watcher, "stopped", stop)
    assert row.figures.stall_ms > 400
    assert row.figures.rss_mb > 100
    assert row.figures.descriptors > 5


async def test_the_target_notices_faults(
    attacked_server: tuple[ServerProcess, Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with targeted(attacked_server[0]) as target:
        target.note(500, {}, "a")
        target.note(503, {}, "b")
        target.note(503, {"Retry-After": "1"}, "c")
        monkeypatch.setattr("hostile.target.QUESTION", {"model": "none"})
        start = time.monotonic()
        await target.check_chat(0.5)
        assert time.monotonic() - start < 30
    assert [fault[:20] for fault in target.faults] == [
        "status 500: a",
        "status 503 without R",
        "a plain question is ",
    ]


def test_broken_bounds_are_named() -> None:
    idle = Row("idle", 1, Figures(stall_ms=10, rss_mb=500))
    figures = Figures(stall_ms=200, peak_rss_mb=3000)
    row = Row("case", 1, figures, recovery_s=31, faults=["x", "x"])
    assert broken_bounds(idle, [idle, row], Bounds()) == [
        "case: the event loop stalled for 190 ms",
        "case: memory grew by 2500 MB",
        "case: a chat waited 31 s afterwards",
        "case: 2 x x",
    ]


async def test_a_short_soak(
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(soak, "SETTLE_S", 3.0)
    # To fill all of the cache takes longer than the rest of the test.
    monkeypatch.setattr(soak, "CHAT_BLOCKS", 100)
    monkeypatch.setattr(run, "LOG", tmp_path / "server.log")
    assert await soak.soak(config, minutes=0.1, warm_up_s=6) == []
    assert "| minute | RSS, MB |" in capsys.readouterr().out


def test_growth_beyond_the_tolerance_is_named() -> None:
    start = soak.State(0, 500, 20, 70, 10)
    assert soak.compare(start, start, soak.Tolerance()) == []
    assert soak.compare(start, soak.State(60, 800, 30, 100, 20), soak.Tolerance()) == [
        "rss_mb grew by 300; allowed: 150.0",
        "descriptors grew by 10; allowed: 5",
        "threads grew by 30; allowed: 8",
        "tasks grew by 10; allowed: 3",
    ]


def test_cases_are_chosen_by_their_group_or_name(tmp_path: Path) -> None:
    groups = {**run.cases(), **run.fuzzing(20_000, tmp_path)}
    assert list(run.chosen(groups, "fuzz")) == [
        f"random requests, seed {number}" for number in (1, 2, 3)
    ]
    assert list(run.chosen(groups, "smuggling")) == ["request smuggling"]
    assert list(run.chosen(groups, "schemathesis")) == ["schemathesis"]
    assert len(run.chosen(groups, "")) > 30


def test_counts() -> None:
    rows = [Row("a", 1, Figures(), counts=Counter({"200": 2})), Row("b", 1, Figures())]
    assert run.markdown(rows).endswith("2 requests and connections: 2 x 200.")
