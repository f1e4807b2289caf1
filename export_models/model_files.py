"""Whether a folder holds a complete OpenVINO text generation model."""

from pathlib import Path
from xml.etree import ElementTree

from server.host.model_files import DETOKENIZER_FILE, TOKENIZER_FILE, model_files

__all__ = ["find_missing_part"]


def find_missing_part(folder: Path) -> str | None:
    """The first missing or cut file, or None for a complete model."""
    problems = (
        _find_problem(folder / name)
        for name in (*model_files(folder), TOKENIZER_FILE, DETOKENIZER_FILE)
    )
    return next((problem for problem in problems if problem), None)


def _find_problem(xml: Path) -> str | None:
    """Also finds a file that was cut, by a full disk for example."""
    weights = xml.with_suffix(".bin")
    try:
        num_bytes = _num_weight_bytes(xml)
        found = weights.stat().st_size
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except ElementTree.ParseError as error:
        return f"{xml.name} is not complete ({error})"
    if found < num_bytes:
        return f"{weights.name} holds {found} of {num_bytes} bytes"
    return None


def _num_weight_bytes(xml: Path) -> int:
    """Where the last constant of an IR file ends in its .bin file."""
    end = 0
    for _, element in ElementTree.iterparse(xml):
        if element.tag == "data" and "offset" in element.attrib:
            end = max(end, int(element.get("offset", 0)) + int(element.get("size", 0)))
        element.clear()
    return end
