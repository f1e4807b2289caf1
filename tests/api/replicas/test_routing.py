"""Which replica gets a request."""

from pathlib import Path

import pytest

from server.api.replicas.backend import Backend, Work
from server.api.replicas.prefix_index import PrefixIndex
from server.api.replicas.prompt_outline import PromptOutline
from server.api.replicas.routing import Router, note_prompt
from server.errors import ModelNotReadyError

TURN_1 = PromptOutline("m", tuple(range(10)), (100, 101), 320)
TURN_2 = PromptOutline("m", tuple(range(12)), (100, 101, 102, 103), 384)
OTHER = PromptOutline("m", (*range(8), 50, 51), (100, 201), 320)


@pytest.fixture
def backends() -> list[Backend]:
    found = [Backend(number, Path("/none")) for number in range(2)]
    for backend in found:
        backend.unready, backend.problem, backend.has_loaded = {}, "", True
    return found


def send(router: Router, outline: PromptOutline, backends: list[Backend]) -> int:
    """Route a request that goes on for ever."""
    chosen = router.choose(outline)
    chosen.work.append(Work(outline.num_tokens))
    chosen.num_requests += 1
    note_prompt(chosen, outline)
    return backends.index(chosen)


def test_requests_without_a_known_beginning_take_turns(backends: list[Backend]) -> None:
    router = Router(backends, 8)
    assert [send(router, PromptOutline("m"), backends) for _ in range(6)] == [0, 1, 0, 1, 0, 1]


def test_a_conversation_stays_while_its_replica_is_busier_but_not_much(
    backends: list[Backend],
) -> None:
    router = Router(backends, 3)
    note_prompt(backends[1], TURN_1)
    # The fifth would make it more than three requests ahead.
    assert [send(router, TURN_2, backends) for _ in range(5)] == [1, 1, 1, 1, 0]


def test_a_shared_beginning_draws_requests_only_as_far_as_it_saves_time(
    backends: list[Backend],
) -> None:
    router = Router(backends, 8)
    note_prompt(backends[0], TURN_1)
    assert send(router, OTHER, backends) == 0
    # 256 tokens are known there, and the first request counts 256 and its own 320.
    assert send(router, OTHER, backends) == 1


def test_the_same_prompt_of_many_clients_is_divided(backends: list[Backend]) -> None:
    router = Router(backends, 8)
    assert sorted(send(router, TURN_1, backends) for _ in range(8)) == [0] * 4 + [1] * 4


def test_a_replica_that_cannot_serve_the_model_gets_no_request_for_it(
    backends: list[Backend],
) -> None:
    router = Router(backends, 8)
    backends[0].unready = {"m": "it failed"}
    assert {router.choose(PromptOutline("m")) for _ in range(3)} == {backends[1]}
    assert router.choose(PromptOutline("n")) is backends[0]
    backends[1].lose("it ended")
    # The only one says why it cannot.
    assert router.choose(PromptOutline("m")) is backends[0]
    backends[0].lose("it ended, too")
    with pytest.raises(ModelNotReadyError, match="replica 0: it ended, too; replica 1: it ended"):
        router.choose(PromptOutline("m"))


def test_a_replica_that_still_loads_gets_nothing_while_another_serves(
    backends: list[Backend],
) -> None:
    backends[0].has_loaded = False
    assert Router(backends, 8).choose(PromptOutline("m")) is backends[1]


def test_a_new_process_knows_no_prompts(backends: list[Backend]) -> None:
    note_prompt(backends[1], TURN_1)
    backends[1].lose("it ended")
    backends[1].unready, backends[1].problem, backends[1].has_loaded = {}, "", True
    assert Router(backends, 8).choose(TURN_2) is backends[0]


def test_the_index_of_prompts_is_bounded() -> None:
    index = PrefixIndex(100)
    index.add(range(80))
    index.add(range(100, 150))
    assert len(index) == 100
    # The end of the oldest prompt is forgotten first.
    assert index.count_shared(range(80)) == 50
    assert index.count_shared(range(100, 150)) == 50
