"""Models share one memory budget: the least recently used ones leave, and requests wait."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from support.fakes import echo_graph
from support.resident_models import ASKING_GRAPH, ask, resident_manager, status_of, until

from server.errors import ModelNotReadyError, QueueFullError
from server.host.process_memory import resident_bytes
from server.models.model_manager import ModelManager
from server.models.residency import residency

MB = 10**6
# Two of these models fit into the budget, three do not.
GRAPHS = dict.fromkeys("abc", echo_graph(hold_mb=40))
BUDGET = 100 * MB


def loaded(manager: ModelManager) -> set[str]:
    return {name for name in GRAPHS if status_of(manager, name)["loaded"]}


async def test_the_least_recently_used_model_leaves(tmp_path: Path) -> None:
    async with resident_manager(tmp_path, GRAPHS, memory_budget_bytes=BUDGET) as manager:
        # All were loaded once; the first one had to leave.
        assert loaded(manager) == {"b", "c"}
        assert 38 * MB < status_of(manager, "a")["memory_bytes"] < 50 * MB
        await ask(manager, "b")
        before = resident_bytes()
        await ask(manager, "a")
        assert loaded(manager) == {"a", "b"}
        assert status_of(manager, "c")["unloaded"]["reason"] == "model 'a' needs its memory"
        # What a unloaded model had was given back.
        assert abs(resident_bytes() - before) < 15 * MB


async def test_without_a_budget_all_stay_loaded_while_memory_is_free(tmp_path: Path) -> None:
    async with resident_manager(tmp_path, GRAPHS) as manager:
        assert loaded(manager) == {"a", "b", "c"}


async def test_a_model_that_never_fits_is_told_at_the_start(tmp_path: Path) -> None:
    graphs = {"kept": echo_graph(hold_mb=40), "big": echo_graph(), "small": echo_graph()}
    groups = {"kept": "permanent"}
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "weights.bin").write_bytes(bytes(60 * MB))
    async with resident_manager(tmp_path, graphs, groups, memory_budget_bytes=BUDGET) as manager:
        assert status_of(manager, "kept")["loaded"]
        assert status_of(manager, "small")["loaded"]
        with pytest.raises(ModelNotReadyError, match="beside 0.04 GB that stay loaded") as error:
            manager.get("big")
        assert "needs about 0.07 GB" in str(error.value)
        assert "--memory_budget_gb allows 0.10 GB" in str(error.value)


async def test_a_group_that_does_not_fit_is_told(tmp_path: Path) -> None:
    groups = dict.fromkeys("abc", "rag")
    async with resident_manager(
        tmp_path, GRAPHS, groups, memory_budget_bytes=BUDGET, idle_unload_timeout_s=0.2
    ) as manager:
        await until(lambda: not loaded(manager))
        with pytest.raises(ModelNotReadyError, match="group 'rag' needs about"):
            await ask(manager, "a")


async def test_an_endless_flow_hands_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "TURN_S", 0.3)
    answered: set[str] = set()

    async def ask_on(name: str, pause_s: float) -> None:
        # Two of these for a model leave no moment without a request.
        await asyncio.sleep(pause_s)
        while answered != {*GRAPHS}:
            await ask(manager, name, "one !pause two")
            answered.add(name)

    async with (
        resident_manager(tmp_path, GRAPHS, memory_budget_bytes=60 * MB) as manager,
        asyncio.timeout(60),
        asyncio.TaskGroup() as group,
    ):
        # Without a turn's end, the first flow would go on for ever.
        for name in GRAPHS:
            group.create_task(ask_on(name, 0))
            group.create_task(ask_on(name, 0.25))


async def test_requests_wait_in_the_order_of_arrival(tmp_path: Path) -> None:
    async with resident_manager(tmp_path, GRAPHS, memory_budget_bytes=60 * MB) as manager:
        assert loaded(manager) == {"c"}
        running = asyncio.create_task(ask(manager, "c", "!pause"))
        await asyncio.sleep(0.05)
        order: list[str] = []

        async def ask_and_note(name: str) -> None:
            await ask(manager, name)
            order.append(name)

        waiting = []
        for name in "bab":
            waiting.append(asyncio.create_task(ask_and_note(name)))
            await asyncio.sleep(0.01)
        await asyncio.gather(running, *waiting)
        # Both requests for b are served while it is loaded.
        assert order == ["b", "b", "a"]


async def test_waiting_has_bounds(tmp_path: Path) -> None:
    async with resident_manager(
        tmp_path, GRAPHS, memory_budget_bytes=60 * MB, wait_timeout_s=0.5, max_waiting=2
    ) as manager:
        running = asyncio.create_task(ask(manager, "c", "!wait"))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(ask(manager, "a")) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFullError, match="--max_requests_waiting_for_load allows 2"):
            await ask(manager, "b")
        for task in waiting:
            with pytest.raises(ModelNotReadyError, match="not loaded within 0.5 s"):
                await task
        # Nothing was unloaded for those who left, and nothing waits any more.
        assert loaded(manager) == {"c"}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        # A load may take longer than a request waits for it.
        while loaded(manager) != {"b"}:
            with contextlib.suppress(ModelNotReadyError):
                assert await ask(manager, "b") == "hello"


async def test_a_node_that_asks_another_model_does_not_wait_for_its_own_group(
    tmp_path: Path,
) -> None:
    graphs = {"a": ASKING_GRAPH, "b": echo_graph(hold_mb=40), "c": echo_graph(hold_mb=40)}
    async with resident_manager(tmp_path, graphs, memory_budget_bytes=BUDGET) as manager:
        # b is the least recently used one, so it leaves for a; then c leaves for b.
        assert await ask(manager, "a") == "hello"
        assert loaded(manager) == {"a", "b"}


async def test_a_node_is_told_if_both_models_do_not_fit(tmp_path: Path) -> None:
    graphs = {"a": ASKING_GRAPH, "b": echo_graph(hold_mb=40)}
    async with resident_manager(tmp_path, graphs, memory_budget_bytes=60 * MB) as manager:
        with pytest.raises(ModelNotReadyError, match="beside 0.04 GB that stay loaded"):
            await ask(manager, "a")
        assert await ask(manager, "b") == "hello"
