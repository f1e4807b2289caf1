"""The reference pages have all that the code has, and nothing else."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import HEADING, ROOT, code_words, prose, table_rows
from support.imports import arrows, modules
from support.reference_tables import DOCS, MISSING, export_flags, rewrite, server_flags

from calculators.embeddings_calculator_ov import EmbeddingsCalculatorOVOptions
from calculators.llm.llm_options import _UNSUPPORTED, LLMCalculatorOptions
from calculators.output_parser_calculator import OutputParserCalculatorOptions
from calculators.output_parsers.registry import aliases, parser_names
from calculators.rerank_calculator_ov import RerankCalculatorOVOptions
from calculators.tokenizer_calculator import TokenizerCalculatorOptions
from server.api.app import ENDPOINTS
from server.models.classic_config import CLASSIC_MODEL_KEYS
from server.models.config import GRAPH_KEYS, TOP_LEVEL_KEYS
from server.payloads import SamplingParams
from server.protocol.anthropic.messages import RULES, MessageFields
from server.protocol.embeddings.embeddings import EmbeddingFields
from server.protocol.scoring.rerank import RerankFields

CONFIGURATION = DOCS / "configuration.md"
API = DOCS / "api.md"
TROUBLESHOOTING = DOCS / "troubleshooting.md"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_generated_tables_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == rewrite(page), "run: python tests/support/reference_tables.py"
    assert MISSING not in text


def names_in(page: Path, heading: str, column: int = 0) -> set[str]:
    return {name for row in table_rows(page, heading) for name in code_words(row[column])}


def defaults_in(page: Path, heading: str) -> dict[str, str]:
    rows = table_rows(page, heading)
    return {row[0].strip("`"): row[1].strip("`") for row in rows}


def defaults_of(options: type) -> dict[str, str]:
    """Names and defaults as graph.pbtxt spells them."""
    return {field.name: _spell(field.default) for field in dataclasses.fields(options)}


def _spell(default: object) -> str:
    if default is dataclasses.MISSING:
        return "required"
    if isinstance(default, bool):
        return str(default).lower()
    if default is None or default == ():
        return "none"
    return '""' if default == "" else str(getattr(default, "name", default))


def test_every_option_of_the_llm_node_is_documented() -> None:
    expected = defaults_of(LLMCalculatorOptions)
    for name in _UNSUPPORTED:
        assert f"`{name}`" in prose(CONFIGURATION)
        del expected[name]
    expected["target_inter_token_latency_ms"] = "by the machine"
    assert defaults_in(CONFIGURATION, "### Options of the LLM node") == expected


def test_every_option_of_the_other_nodes_is_documented() -> None:
    parsers = defaults_of(OutputParserCalculatorOptions)
    assert defaults_in(CONFIGURATION, "### Output parsers") == parsers
    embeddings = defaults_of(EmbeddingsCalculatorOVOptions)
    assert defaults_in(DOCS / "embeddings.md", "## The node") == embeddings
    rerank = defaults_of(RerankCalculatorOVOptions)
    assert defaults_in(DOCS / "rerank.md", "## The node") == rerank
    tokenizer = defaults_of(TokenizerCalculatorOptions)
    assert defaults_in(CONFIGURATION, "### Options of the tokenizer node") == tokenizer


def test_every_parser_is_documented() -> None:
    _, _, section = CONFIGURATION.read_text().partition("Possible names:")
    tools, reasoning = re.findall(r"^\| `\w+_parser` \| (.*) \|$", section, re.MULTILINE)
    assert {*code_words(tools)} == {*parser_names("tool_parser"), "none"}
    assert {*code_words(reasoning)} - {"<think>"} == {*parser_names("reasoning_parser"), "none"}
    documented = {}
    for names, family in re.findall(r"^\| (`.*`) \| `(\w+)` \|$", section, re.MULTILINE):
        documented.update(dict.fromkeys(code_words(names), family))
    assert documented == aliases()


def test_every_key_of_the_configuration_is_documented() -> None:
    assert names_in(CONFIGURATION, "## config.json") == {*TOP_LEVEL_KEYS}
    _, _, section = CONFIGURATION.read_text().partition("Keys of an entry:")
    rows = re.findall(r"^\| (`.*?`) \|", section.partition("An unknown key")[0], re.MULTILINE)
    assert {*code_words(" ".join(rows))} == {*GRAPH_KEYS, *CLASSIC_MODEL_KEYS}


def test_every_endpoint_is_documented() -> None:
    documented = names_in(API, "## Endpoints")
    served = {f"{endpoint.method} {plain_path(endpoint.paths()[-2:][0])}" for endpoint in ENDPOINTS}
    # The page says this of all of them in a sentence.
    served = {path for path in served if "/versions/" not in path}
    served -= {path.replace(" /", " /v3/") for path in served}
    assert documented - {"GET /openapi.json", "model", "/v3"} == served


def test_every_field_of_anthropics_messages_is_documented() -> None:
    documented = names_in(API, "## Anthropic's Messages API")
    assert documented == {*MessageFields.model_fields, *RULES.rules}


def test_every_field_of_embeddings_is_documented() -> None:
    documented = names_in(DOCS / "embeddings.md", "## Request fields")
    assert documented == {*EmbeddingFields.model_fields} - {"model"}


def test_every_field_of_rerank_is_documented() -> None:
    documented = names_in(DOCS / "rerank.md", "## Rerank")
    assert documented == {*RerankFields.model_fields} - {"model"}


def plain_path(path: str) -> str:
    """aiohttp's route in the spelling of the page."""
    path = re.sub(r"\{(\w+):[^{}]*\}", r"{\1}", path)
    return "/v3/..." if path.endswith("{endpoint}") else path


def test_the_python_parameters_are_documented() -> None:
    expected = {field.name for field in dataclasses.fields(SamplingParams)}
    assert names_in(DOCS / "python.md", "## SamplingParams") == expected


def test_messages_in_the_troubleshooting_page_are_those_of_the_code() -> None:
    texts = [text for _, path in modules() for text in texts_of(path)]
    for heading in HEADING.findall(prose(TROUBLESHOOTING)):
        for message in re.findall(r"^`(.*?)`", heading):
            for piece in re.split(r"'?<[^<>]*>'?", message):
                is_known = any(piece.strip(" ;,") in text for text in texts)
                assert is_known or piece.startswith(FOREIGN), piece


# Of Python and pip.
FOREIGN = ("pip", "No module named")


def texts_of(path: Path) -> Iterator[str]:
    """Strings of a file; what is filled in is left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value for part in node.values if isinstance(part, ast.Constant))
            yield "\0".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("name", ["from-other-servers.md", "from-ovms.md"])
def test_other_servers_are_mapped_to_what_is_here(name: str) -> None:
    known = {flag.replace("-", "_") for flag in {*server_flags(), *export_flags()}}
    options = {field.name for field in dataclasses.fields(LLMCalculatorOptions)}
    options |= {field.name for field in dataclasses.fields(OutputParserCalculatorOptions)}
    for line in (DOCS / name).read_text(encoding="utf-8").splitlines():
        here = line.split("|")[-2] if line.startswith("|") else ""
        flags = {word for word in code_words(here) if word.startswith("--")}
        assert {flag.replace("-", "_").split()[0] for flag in flags} <= known, line
        named = re.findall(r"options? `(\w+)`(?:, `(\w+)`)?", here)
        assert {option for pair in named for option in pair if option} <= options, line


def test_the_fields_that_vllm_has_too_are_request_fields() -> None:
    text = (DOCS / "from-other-servers.md").read_text(encoding="utf-8")
    (same,) = re.findall(r"have the same names and meanings: (.*?)\.\s", text, re.DOTALL)
    fields = re.findall(r"^\| `(\w+)` \|", API.read_text(encoding="utf-8"), re.MULTILINE)
    assert {*code_words(same.replace("\n", " "))} <= {*fields}


def test_the_figures_of_the_benchmarks_page_are_measured_ones() -> None:
    results = (ROOT / "demos" / "benchmark" / "README.md").read_text(encoding="utf-8")
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\d\.\d+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for other, multiple in rows:
        assert re.search(rf"\| W1, {re.escape(other)}[^|]*\|.*\| {multiple} \(", results), other


GROUND = {"host", "payloads", "sampling_params", "tensors", "errors", "version"}


def test_the_architecture_page_has_every_room_and_what_it_imports() -> None:
    rooms = {}
    for room, imported in arrows().items():
        if (ROOT / room.replace(".", "/")).is_dir() and room != "server":
            others = imported - {f"server.{name}" for name in GROUND}
            rooms[room.replace(".", "/")] = {other.replace(".", "/") for other in others}
    rows = table_rows(DOCS / "architecture.md", "## The packages")
    assert {row[0].strip("`"): {*code_words(row[2])} for row in rows} == rooms


@pytest.mark.parametrize("room", ["calculators", "server/engine", "export_models"])
def test_the_architecture_page_has_the_packages_of_the_large_rooms(room: str) -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("The larger packages hold these:")[2].partition("Imports point down")[0]
    found = {folder.parent.name for folder in (ROOT / room).glob("*/__init__.py")}
    assert found <= {*code_words(table)}
