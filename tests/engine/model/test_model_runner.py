"""A runner that cannot be made frees what it took; steps are tested with the engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.engine_helpers import F32

from server.engine.model.model_runner import ModelRunner
from server.host.memory import RESERVATIONS
from server.host.metrics import EngineStats
from tests.engine.conftest import load_once


class NoRequests:
    """A compiled model of which no infer request can be made."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled, name)

    def create_infer_request(self) -> None:
        raise RuntimeError("no memory for a request")


@pytest.mark.parametrize("part", ["layers", "head"])
def test_a_runner_that_cannot_be_made_reserves_nothing(model_f32: Path, part: str) -> None:
    loaded = load_once(model_f32, "CPU", F32)
    broken: Any = replace(loaded, **{part: NoRequests(getattr(loaded, part))})
    reserved = RESERVATIONS.total_bytes
    with pytest.raises(RuntimeError, match="no memory for a request"):
        ModelRunner(broken, 4, EngineStats(), 16, 4)
    assert RESERVATIONS.total_bytes == reserved
