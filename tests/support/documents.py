"""The Markdown pages of the project: their fenced blocks, headings and links."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "configs" / "README.md",
    ROOT / "demos" / "clients" / "README.md",
    ROOT / "demos" / "embeddings" / "README.md",
    ROOT / "demos" / "tensors" / "README.md",
)
"""The pages of which every fenced block is run, or says why it is not."""

FENCE = re.compile(r"^```(\S*)[ \t]*([^\n]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
LINK = re.compile(r"\[[^\]\[]*\]\(([^()\s]+)\)")
CODE = re.compile(r"`[^`\n]+`")


@dataclass(frozen=True)
class Block:
    """A fenced block. `info` is what follows the language: `word` or `word="text"` each.

    Words: `no-run="reason"`; `file="path"` writes the block to that file; `serve` starts a server
    that the blocks after it use; `fails` is a command that must end with an error.
    """

    page: Path
    line: int
    language: str
    text: str
    info: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            line=text.count("\n", 0, found.start()) + 1,
            language=found[1],
            text=found[3],
            info=_parse_info(found[2]),
        )
        for found in FENCE.finditer(text)
    ]


def _parse_info(text: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: value for name, _, value in pairs}


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """The targets of all links of a page."""
    return LINK.findall(CODE.sub("", prose(page)))


def anchors(page: Path) -> set[str]:
    """What can follow a # in a link to a page, as GitHub makes it from the headings."""
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (unique := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(unique)
    return found


def table_rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    text = page.read_text(encoding="utf-8")
    _, found, section = text.partition(f"\n{heading}\n")
    assert found, f"{page}: no heading {heading!r}"
    lines = _first_table(section.splitlines())
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines][2:]


def _first_table(lines: list[str]) -> Iterator[str]:
    is_in_table = False
    for line in lines:
        if line.startswith("|"):
            is_in_table = True
            yield line
        elif is_in_table:
            return


def code_words(text: str) -> list[str]:
    """What is written as inline code in a text."""
    return [word.strip("`") for word in CODE.findall(text)]
