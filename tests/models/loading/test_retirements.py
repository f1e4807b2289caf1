"""Closing graphs that were replaced, where one cannot be closed."""

import asyncio

import pytest

from server.errors import ModelLoadError
from server.models.loading import retirements
from server.models.loading.retirements import Retirements

KEY = ("m", 1)


async def test_models_are_loaded_until_too_many_of_their_graphs_hang(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retirements, "HAND_OVER_S", 0.0)
    monkeypatch.setattr(retirements, "CLOSE_S", 0.05)
    end = asyncio.Event()
    found = Retirements(drain_timeout_s=0)

    async def close() -> None:
        await end.wait()

    found.add(KEY, close())
    await found.wait_for(("other", 1))
    await found.wait_for(KEY)
    assert "its last graph hangs" in caplog.text
    found.add(KEY, close())
    with pytest.raises(ModelLoadError, match="2 earlier graphs of model 'm' hang"):
        await found.wait_for(KEY)
    end.set()
    await found.wait()
    await found.wait_for(KEY)
