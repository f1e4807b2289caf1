"""Counts of engines are added up while the engines' threads go on counting."""

from server.host.metrics import EngineStats


def test_an_engine_that_counts_something_new_meanwhile_can_be_added() -> None:
    live = EngineStats()

    class Count(int):
        """Lets the engine's thread add a key while this count is read."""

        def __radd__(self, other: int) -> int:
            live.accepted_per_position[1] = 1
            return other + int(self)

    live.accepted_per_position[0] = Count(5)
    total = EngineStats()
    total.add(live)
    assert total.accepted_per_position == {0: 5}
