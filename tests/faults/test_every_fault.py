"""Each fault of measure.py in a server of its own: what its client gets, and that it is healed."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from faults.measure import CASES, TIMEOUT_S, Case, Outcome, measure, write_models


class Outcomes:
    """Measures a case while the one before it is looked at: most of the time they wait."""

    def __init__(self, cases: list[Case], folder: Path, pool: ThreadPoolExecutor) -> None:
        self._cases = cases
        self._folder = folder
        self._pool = pool
        self._measured: dict[Case, Future[Outcome]] = {}

    def of(self, case: Case, speech: Path | None) -> Outcome:
        """What a case led to."""
        place = self._cases.index(case)
        for each in self._cases[place : place + 2]:
            if each not in self._measured and (speech is not None or each.request != "speak"):
                folder = self._folder / str(self._cases.index(each))
                self._measured[each] = self._pool.submit(_measure, each, folder, speech)
        return self._measured[case].result()


def _measure(case: Case, folder: Path, speech: Path | None) -> Outcome:
    faults = folder / "faults"
    faults.mkdir(parents=True)
    return measure(write_models(folder, [case.request], speech), faults, case)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outcomes]:
    chosen = [item for item in request.session.items if item.fspath == request.fspath]
    cases = [item.callspec.params["case"] for item in chosen]  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as pool:
        yield Outcomes(cases, tmp_path_factory.mktemp("faults"), pool)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.fault}{case.amount}")
def test_a_fault_is_healed(case: Case, outcomes: Outcomes, request: pytest.FixtureRequest) -> None:
    speech = None
    if case.request == "speak":
        speech = request.getfixturevalue("speech_models") / "speecht5"
    outcome = outcomes.of(case, speech)
    assert outcome.answer.startswith(case.expected)
    if case.expected == "connection lost":
        assert outcome.exit_code == 70
        assert "Exit code 70: the event loop has done nothing for" in outcome.log
    else:
        assert outcome.again_s is not None
        assert outcome.again_s < TIMEOUT_S
