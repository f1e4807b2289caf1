"""Which adapters are copied to where, as the adapters of steps change."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from server.engine.adapters.adapter_store import Adapter, Matrix
from server.engine.adapters.branches import AdaptedModule
from server.engine.adapters.settings import AdapterSource
from server.engine.adapters.staged_weights import StagedWeights

MODULES = [AdaptedModule(f"m{n}", 5, 3, f"a{n}", f"b{n}") for n in range(2)]


def adapter(number: int, rank: int = 8, num_modules: int = 2) -> Adapter:
    """All values of its matrices are `number`."""
    matrices = {}
    for module in MODULES[:num_modules]:
        matrices[module.a_input] = np.full((5, rank), number, np.float32)
        matrices[module.b_input] = np.full((rank, 3), number, np.float32)
    return Adapter(AdapterSource(f"{number}", Path()), rank, num_modules, matrices)


def values(staged: StagedWeights, name: str) -> list[list[float]]:
    """The different values in each place of an input."""
    return [sorted(set(place.reshape(-1).tolist())) for place in staged.tensors()[name].data]


def check(staged: StagedWeights, adapters: Sequence[Adapter]) -> None:
    order = staged.stage(adapters)
    numbers = {each.identity: float(each.name) for each in adapters}
    assert sorted(map(str, order)) == sorted(str(each.identity) for each in adapters)
    for name in ("a0", "b0", "a1", "b1"):
        assert values(staged, name) == [[numbers[each]] for each in order if each is not None]


@pytest.fixture
def staged() -> StagedWeights:
    return StagedWeights(MODULES, ov.Type.f32)


def test_each_step_has_its_adapters_and_no_others(staged: StagedWeights) -> None:
    known = [adapter(number) for number in range(1, 6)]
    for numbers in ([0], [], [0], [0, 1, 2], [2], [1, 2], [3], [4, 3, 2, 1, 0], [], [4], [0, 4]):
        check(staged, [known[number] for number in numbers])


def test_the_same_adapters_are_not_copied_again(staged: StagedWeights) -> None:
    one, two, three = adapter(1), adapter(2), adapter(3)
    order = staged.stage([one, two])
    assert staged.stage([two, one]) is order
    for each in (one, two):
        each.matrices = {}
    check(staged, [])
    check(staged, [one, two])
    # The place of one that goes is taken by the one that comes.
    assert staged.stage([three, two]) == (three.identity, two.identity)
    check(staged, [three, two])


def test_ranks_of_their_own(staged: StagedWeights) -> None:
    """A smaller one is filled up with zeros; without the largest one all are smaller again."""
    small, large = adapter(1, rank=2), adapter(2, rank=20)
    assert staged.stage([small, large]) == (small.identity, large.identity)
    assert staged.tensors()["a0"].shape == [2, 5, 24]
    a, b = (staged.tensors()[name].data for name in ("a0", "b0"))
    assert (a[0].sum(), b[0].sum()) == (5 * 2, 2 * 3)
    assert (a[1].sum(), b[1].sum()) == (2 * 5 * 20, 2 * 20 * 3)
    staged.stage([small])
    assert staged.tensors()["a0"].shape == [1, 5, 8]
    assert staged.tensors()["a0"].data.sum() == 5 * 2


def test_a_layer_that_an_adapter_does_not_change(staged: StagedWeights) -> None:
    staged.stage([adapter(1)])
    staged.stage([adapter(2, num_modules=1)])
    assert values(staged, "a0") == [[2.0]]
    assert values(staged, "a1") == values(staged, "b1") == [[0.0]]


@pytest.mark.parametrize("comes", [adapter(3, rank=20), adapter(3)])
def test_without_memory_nothing_counts_as_staged(
    staged: StagedWeights, comes: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = adapter(1)
    check(staged, [one])
    make, num_made = staged._zeros, 0

    def fail_at_third(capacity: int, shape: tuple[int | None, int | None]) -> Matrix:
        nonlocal num_made
        num_made += 1
        if num_made == 3:
            raise MemoryError
        return make(capacity, shape)

    monkeypatch.setattr(staged, "_zeros", fail_at_third)
    with pytest.raises(MemoryError):
        staged.stage([one, comes])
    check(staged, [])
    assert len({tensor.shape[0] for tensor in staged.tensors().values()}) == 1
    check(staged, [one])
    assert set(staged.stage([one, comes])) == {one.identity, comes.identity}
