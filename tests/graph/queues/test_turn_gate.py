"""TurnGate: places, turns of clients, and callers that leave."""

import asyncio
import random

import pytest

from server.graph import TurnGate


async def test_each_client_in_turn() -> None:
    gate, order = TurnGate(1), []
    await gate.enter("first")

    async def use(client: str) -> None:
        await gate.enter(client)
        order.append(client)
        gate.leave()

    tasks = [asyncio.create_task(use(client)) for client in "aaaabbc"]
    await asyncio.sleep(0)
    assert (gate.num_inside, gate.num_waiting) == (1, 7)
    gate.leave()
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "c", "a", "b", "a", "a"]
    assert (gate.num_inside, gate.num_waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_no_place_is_lost_or_doubled(seed: int) -> None:
    rng, gate = random.Random(seed), TurnGate(3)
    num_inside = 0

    async def use(client: str) -> None:
        nonlocal num_inside
        await gate.enter(client)
        try:
            num_inside += 1
            assert num_inside <= 3
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        finally:
            num_inside -= 1
            gate.leave()

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(use(rng.choice("abc"))))
        if rng.random() < 0.5:
            await asyncio.sleep(0)
        if rng.random() < 0.4:
            rng.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (gate.num_inside, gate.num_waiting) == (0, 0)
