"""Distributions that register plug-ins, made in a folder and found as installed ones are."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

__all__ = ["entry_points_of", "make_distribution"]


def make_distribution(folder: Path, dist: str, group: str, **entries: str) -> Path:
    """Make a distribution that registers entries, name="module:attribute"; returns its site."""
    site = folder / f"site-{dist}"
    info = site / f"{dist.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in entries.items()]
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(lines))
    return site


def entry_points_of(sites: Sequence[Path], group: str) -> list[metadata.EntryPoint]:
    """What `importlib.metadata.entry_points` would find in these sites alone."""
    found = metadata.distributions(path=[str(site) for site in sites])
    return [point for dist in found for point in dist.entry_points if point.group == group]
