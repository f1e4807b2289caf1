"""Fixtures of the graph tests."""

from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from server.graph import registry

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
    sites: list[str] = []

    def entry_points(group: str) -> list[metadata.EntryPoint]:
        found = metadata.distributions(path=sites)
        return [point for dist in found for point in dist.entry_points if point.group == group]

    monkeypatch.setattr(registry, "entry_points", entry_points)

    def install(dist: str = "fake-plugin", **calculators: str) -> Path:
        site = tmp_path / f"site-{dist}"
        info = site / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        lines = [f"{name} = {value}\n" for name, value in calculators.items()]
        (info / "entry_points.txt").write_text("[server.calculators]\n" + "".join(lines))
        sites.append(str(site))
        monkeypatch.syspath_prepend(site)
        registry._entry_points_by_name.cache_clear()
        return site

    yield install
    monkeypatch.undo()
    registry._entry_points_by_name.cache_clear()
