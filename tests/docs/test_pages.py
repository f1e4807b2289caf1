"""What the pages say of themselves: links, anchors, paths, flags, and reasons."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import PAGES, ROOT, anchors, blocks, code_words, links, prose
from support.reference_tables import chat_flags, export_flags, server_flags, top_flags

SKIPPED = {".venv", "build", "models", "node_modules"}
ALL_PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not SKIPPED & {*path.relative_to(ROOT).parts}
)
MAX_README_LINES = 150
FOLDERS = ("server", "calculators", "export_models", "tests", "demos", "configs", "docs")


def ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", ALL_PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def broken_links(page: Path) -> Iterator[str]:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        path = (page.parent / target).resolve() if target else page
        is_anchor_bad = anchor and (path.suffix != ".md" or anchor not in anchors(path))
        if not path.exists() or is_anchor_bad:
            yield link


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A head: `code`\n[a](no.md) [b](#a-head-code) [c](#other) [d](page.md)\n")
    assert list(broken_links(page)) == ["no.md", "#other"]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_paths_of_the_project_exist(page: Path) -> None:
    words = [word.rstrip("/") for word in code_words(prose(page))]
    paths = [word for word in words if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]+", word)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.language, f"{block.where}: the block names no language"
        if "no-run" in block.info:
            assert len(block.info["no-run"]) > 10, f"{block.where}: no reason"


def test_most_blocks_are_run() -> None:
    found = [block for page in PAGES for block in blocks(page) if block.language != "mermaid"]
    skipped = [block for block in found if "no-run" in block.info]
    assert len(skipped) < len(found) / 3


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_have_only_flags_that_exist(page: Path) -> None:
    """Also those that are not run here."""
    texts = [block.text for block in blocks(page) if block.language == "bash"]
    for text in [*texts, *code_words(prose(page))]:
        for command in re.split(r"&&|\|\||[;|\n]", text.replace("\\\n", " ")):
            known = known_flags(command)
            found = {plain(word) for word in command.split() if word.startswith("--")}
            assert known is None or found <= known, f"{page.name}: {found - known}"


def known_flags(command: str) -> set[str] | None:
    match [word for word in command.split() if not re.fullmatch(r"[A-Z_]+=\S*", word)]:
        case ["server", "chat", *_]:
            flags = chat_flags()
        case ["server", "top", *_]:
            flags = top_flags()
        case ["server", *_]:
            flags = server_flags()
        case ["export_model", *_]:
            flags = export_flags()
        case _:
            return None
    return {plain(flag) for flag in flags}


def plain(flag: str) -> str:
    """Flags are taken with dashes and with underscores."""
    return flag.partition("=")[0][:2] + flag.partition("=")[0][2:].replace("-", "_")


def test_unknown_flags_are_found() -> None:
    assert "--rest_port" in (known_flags("A=1 server --rest_port 1") or set())
    assert "--no_such" not in (known_flags("server --no_such") or set())


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages <= linked
