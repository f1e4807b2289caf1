"""Fixtures of the graph tests."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.plugins import entry_points_of, make_distribution

from server.graph import plugins

HERE = Path(__file__).parent

Register = Callable[..., Path]


@pytest.fixture
def data() -> Path:
    return HERE / "data"


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Make distributions that register calculators: register(Name="module:Class").

    They are the only ones then, whatever is installed beside them.
    """
    sites: list[Path] = []
    monkeypatch.setattr(plugins, "entry_points", partial(entry_points_of, sites))

    def install(dist: str = "fake-plugin", **calculators: str) -> Path:
        sites.append(make_distribution(tmp_path, dist, "server.calculators", **calculators))
        monkeypatch.syspath_prepend(sites[-1])
        plugins._find_entry_points.cache_clear()
        return sites[-1]

    yield install
    monkeypatch.undo()
    plugins._find_entry_points.cache_clear()
