"""Each fault of measure.py in a server of its own: what its client gets, and that it is healed."""

from pathlib import Path

import pytest
from faults.measure import CASES, TIMEOUT_S, Case, measure, write_models


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.fault}{case.amount}")
def test_a_fault_is_healed(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    speech = None
    if case.request == "speak":
        speech = request.getfixturevalue("speech_models") / "speecht5"
    outcome = measure(write_models(tmp_path, speech), faults, case)
    assert outcome.answer.startswith(case.expected)
    if case.expected == "connection lost":
        assert outcome.exit_code == 70
    else:
        assert outcome.again_s is not None
        assert outcome.again_s < TIMEOUT_S
