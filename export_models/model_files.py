"""Whether a folder holds a complete OpenVINO model."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["find_missing_part"]


def find_missing_part(folder: Path, names: Iterable[str]) -> str | None:
    """The first of the .xml files that is missing or cut, or whose .bin is; None if all are there.

    The names may have folders in front.
    """
    problems = (_find_problem(folder, name) for name in names)
    return next((problem for problem in problems if problem), None)


def _find_problem(folder: Path, name: str) -> str | None:
    """Also finds a file that was cut, by a full disk for example."""
    xml = folder / name
    weights = xml.with_suffix(".bin")
    try:
        num_bytes = _num_weight_bytes(xml)
        found = weights.stat().st_size
    except FileNotFoundError as error:
        return f"{Path(error.filename).relative_to(folder)} is missing"
    except ElementTree.ParseError as error:
        return f"{name} is not complete ({error})"
    if found < num_bytes:
        return f"{weights.relative_to(folder)} holds {found} of {num_bytes} bytes"
    return None


def _num_weight_bytes(xml: Path) -> int:
    """Where the last constant of an IR file ends in its .bin file."""
    end = 0
    for _, element in ElementTree.iterparse(xml):
        if element.tag == "data" and "offset" in element.attrib:
            end = max(end, int(element.get("offset", 0)) + int(element.get("size", 0)))
        element.clear()
    return end
