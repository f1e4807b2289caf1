"""demos/benchmark/fresh.py and memory.py measure real servers."""

from pathlib import Path

import fresh
import memory
import pytest
from server_contender import ServerContender


async def test_the_first_minute_of_both_servers(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh, "MINUTE_S", 1.0)
    flags = ["--no_auto_tune", "true"]
    servers = [
        ServerContender(tiny_model, flags=flags, name="padded"),
        fresh.UnpaddedServer(tiny_model, flags=flags, name="plain"),
    ]
    measured = await fresh.measure(servers, tiny_model, rate=8.0, num_rounds=1)
    assert [len(rounds) for rounds in measured.values()] == [1, 1]
    lines = fresh.render(measured).splitlines()
    assert lines[0] == "| | padded | plain | ratio |"
    assert len(lines) == 2 + len(fresh.COLUMNS)
    assert all(line.count("|") == 5 for line in lines[1:])
    for rounds in measured.values():
        assert rounds[0]["ready_s"] > 0
        assert rounds[0]["output_tokens_per_s"] > 0


async def test_memory_after_some_requests(tiny_model: Path) -> None:
    marks = [mark async for mark in memory.measure(tiny_model, [60, 20])]
    assert [num_requests for num_requests, _ in marks] == [0, 20, 60]
    assert all(50 < rss_mb < 5000 for _, rss_mb in marks)
