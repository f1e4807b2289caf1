"""The node without a tokenizer or a tool parser, which constrained answers need; its progress."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calculators.llm.llm_options import LLMCalculatorOptions
from calculators.llm_executor_calculator import LLMExecutorCalculator
from calculators.output_parsers import OutputFormat
from calculators.text.byte_table import load_byte_table
from calculators.text.tokenizer import Tokenizer
from server.errors import ConfigError, InvalidRequestError, ModelLoadError
from server.graph import OpenContext, Services
from server.graph.testing import CalculatorRunner
from server.payloads import AnswerFormat, GenerationRequest, TokenizedPrompt

HERMES = OutputFormat.choose("hermes3", "none", "")
TOOLS = ({"type": "function", "function": {"name": "f"}},)


@pytest.fixture(scope="module")
def tokenizer(model_f32: Path) -> Tokenizer:
    return Tokenizer(model_f32)


def make_runner(model: Path, *, is_guided: bool = False, **side_packets: Any) -> CalculatorRunner:
    options = LLMCalculatorOptions(
        str(model), device="CPU", num_kv_blocks=8, enable_tool_guided_generation=is_guided
    )
    return CalculatorRunner(LLMExecutorCalculator, options, side_packets=side_packets)


@pytest.fixture(scope="module")
def bare(model_f32: Path) -> Iterator[CalculatorRunner]:
    """A node whose graph connects no side packets."""
    runner = make_runner(model_f32)
    runner.open()
    yield runner
    runner.close()


def check(runner: CalculatorRunner) -> None:
    contract = LLMExecutorCalculator.contract
    runner.calculator.check(OpenContext(runner.node_name, contract, {}, Path.cwd()))


def with_draft(model: Path, draft: Path, **fields: Any) -> CalculatorRunner:
    options = LLMCalculatorOptions(
        str(model), device="CPU", num_kv_blocks=8, draft_models_path=str(draft), **fields
    )
    return CalculatorRunner(
        LLMExecutorCalculator, options, side_packets={"TOKENIZER": Tokenizer(model)}
    )


async def test_a_draft_model_is_loaded_beside_the_model(model_f32: Path) -> None:
    # A model can be its own draft model.
    runner = with_draft(model_f32, model_f32, draft_max_num_seqs=2, draft_cache_size=1)
    runner.open()
    try:
        speculation = runner.calculator.status()["speculation"]
        assert speculation["draft_model"].endswith(model_f32.name)
        chunks = (await runner.run({"PROMPT": [prompt()]}))["TOKENS"]
        assert chunks[-1].finish_reason in ("stop", "length")
    finally:
        runner.close()


def test_a_draft_model_that_is_not_there_or_has_other_tokens(
    model_f32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = with_draft(model_f32, tmp_path / "x")
    with pytest.raises(ModelLoadError, match=f"{tmp_path}/x: there is no such folder"):
        runner.open()
    with pytest.raises(ModelLoadError, match=f"{tmp_path}/x/openvino_model.xml not found"):
        check(runner)
    # Only their tokenizers tell the two folders apart.
    other = load_byte_table(model_f32)
    other = replace(other, token_bytes=[*other.token_bytes, b"more"])
    monkeypatch.setattr("calculators.text.vocabularies.load_byte_table", lambda _: other)
    runner = with_draft(model_f32, model_f32)
    for act in (CalculatorRunner.open, check):
        with pytest.raises(ModelLoadError, match="only the draft model has token 2048, 'more'"):
            act(runner)


def prompt(**fields: Any) -> TokenizedPrompt:
    request = GenerationRequest("r", messages=(), sampling={"max_tokens": 2}, **fields)
    return TokenizedPrompt(request, (5, 6), "")


async def test_without_a_tokenizer_answers_are_free(bare: CalculatorRunner) -> None:
    chunks = (await bare.run({"PROMPT": [prompt(tools=TOOLS)]}))["TOKENS"]
    assert chunks[-1].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    "fields",
    [
        {"answer_format": AnswerFormat("json", {})},
        {"tools": TOOLS, "is_tool_required": True},
        {"tools": TOOLS, "parallel_tool_calls": False},
    ],
    ids=str,
)
async def test_without_a_tokenizer_a_form_is_refused(
    bare: CalculatorRunner, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError, match='has no side packet "TOKENIZER"'):
        await bare.run({"PROMPT": [prompt(**fields)]})


@pytest.mark.parametrize(
    ("output_format", "message"),
    [
        (None, 'enable_tool_guided_generation needs the side packet "OUTPUT_FORMAT"'),
        (OutputFormat(), "needs a tool parser of .*devstral, .*hermes3, .*phi4"),
        (
            OutputFormat.choose("functionary", "none", ""),
            "needs a tool parser of .*devstral, .*hermes3",
        ),
    ],
    ids=str,
)
def test_calls_that_cannot_be_guided_are_told_before_the_model_is_loaded(
    tmp_path: Path, tokenizer: Tokenizer, output_format: OutputFormat | None, message: str
) -> None:
    packets = {} if output_format is None else {"OUTPUT_FORMAT": output_format}
    runner = make_runner(tmp_path, is_guided=True, TOKENIZER=tokenizer, **packets)
    with pytest.raises(ConfigError, match=message):
        runner.open()
    with pytest.raises(ConfigError, match='needs the side packet "TOKENIZER"'):
        make_runner(tmp_path, is_guided=True, OUTPUT_FORMAT=HERMES).open()


def test_loading_reports_progress(model_f32: Path) -> None:
    reports: list[tuple[str, float]] = []
    services = Services(on_progress=lambda text, fraction: reports.append((text, fraction)))
    options = LLMCalculatorOptions(str(model_f32), device="CPU", num_kv_blocks=8)
    runner = CalculatorRunner(LLMExecutorCalculator, options, services=services)
    runner.open()
    runner.close()
    fractions = [fraction for _, fraction in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
