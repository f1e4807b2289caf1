"""A third party's families of models, found beside those that are installed."""

from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from support.plugins import entry_points_of, make_distribution

from calculators.output_parsers import registry
from server.graph import plugins

Register = Callable[..., None]


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Make a distribution that registers families: register(name="module:Class")."""
    sites: list[Path] = []

    def find(group: str) -> list[metadata.EntryPoint]:
        return [*metadata.entry_points(group=group), *entry_points_of(sites, group)]

    def forget() -> None:
        plugins._find_entry_points.cache_clear()
        registry.families.cache_clear()

    def install(**families: str) -> None:
        sites.append(make_distribution(tmp_path, "their-package", registry.GROUP, **families))
        forget()

    monkeypatch.setattr(plugins, "entry_points", find)
    yield install
    monkeypatch.undo()
    forget()
