import json
from pathlib import Path
from typing import Any

import pytest

from calculators.llm.llm_options import LLMCalculatorOptions
from calculators.output_parser_calculator import OutputParserCalculatorOptions
from export_models.graph_text import TextGenerationGraph
from server.graph import GraphConfig, parse_graph_config, validate
from server.models.default_graph import llm_graph

MODULES = {
    "TokenizerCalculator": "tokenizer_calculator",
    "LLMExecutorCalculator": "llm_executor_calculator",
    "DetokenizerCalculator": "detokenizer_calculator",
    "OutputParserCalculator": "output_parser_calculator",
}


def options_of(graph: TextGenerationGraph, node: str = "LLMExecutor") -> Any:
    """What the server reads in the text; calculators are named so that none need be installed."""
    text = graph.text()
    for name, module in MODULES.items():
        text = text.replace(f'"{name}"', f'"calculators.{module}:{name}"')
    nodes = validate(parse_graph_config(text, "graph.pbtxt"), Path()).nodes
    options = {node.name: node.options for node in nodes}
    assert options["Tokenizer"].models_path == graph.models_path
    return options[node]


def test_server_reads_what_was_written() -> None:
    options = options_of(
        TextGenerationGraph(
            cache_size=2,
            max_num_seqs=3,
            max_num_batched_tokens=4,
            dynamic_split_fuse=False,
            enable_prefix_caching=False,
            pipeline_type="LM_CB",
            device="GPU",
        )
    )
    assert (options.cache_size, options.max_num_seqs, options.max_num_batched_tokens) == (2, 3, 4)
    assert not options.dynamic_split_fuse
    assert not options.enable_prefix_caching
    assert options.pipeline_type.name == "LM_CB"
    assert options.device == "GPU"


def test_defaults() -> None:
    options = options_of(TextGenerationGraph())
    assert options == LLMCalculatorOptions(
        models_path="./", device="CPU", plugin_config="{}", enable_prefix_caching=True
    )


def test_any_character_survives() -> None:
    odd = 'it\'s "odd" \\ é\nline'
    options = options_of(TextGenerationGraph(models_path=odd, plugin_config={"CACHE_DIR": odd}))
    assert options.models_path == odd
    assert json.loads(options.plugin_config) == {"CACHE_DIR": odd}


@pytest.mark.parametrize(
    ("tool_parser", "reasoning_parser"),
    [(None, None), ("hermes3", None), (None, "qwen3"), ("gptoss", "gptoss")],
)
def test_parsers_are_written_where_they_are_named(
    tool_parser: str | None, reasoning_parser: str | None
) -> None:
    graph = TextGenerationGraph(tool_parser=tool_parser, reasoning_parser=reasoning_parser)
    assert options_of(graph, "OutputParser") == OutputParserCalculatorOptions(
        tool_parser or "", reasoning_parser or ""
    )


@pytest.mark.parametrize("is_guided", [True, None])
def test_guided_generation_is_written_where_it_is_wanted(is_guided: bool | None) -> None:
    options = options_of(TextGenerationGraph(enable_tool_guided_generation=is_guided))
    assert options.enable_tool_guided_generation is bool(is_guided)


def test_a_folder_without_a_graph_is_served_as_the_export_would_have_it_served() -> None:
    def nodes(config: GraphConfig) -> list[Any]:
        checked = validate(config, Path()).nodes
        return [(node.calculator_class, node.options) for node in checked]

    exported = parse_graph_config(TextGenerationGraph().text(), "graph.pbtxt")
    assert nodes(llm_graph("m", {"device": "CPU", "plugin_config": "{}"})) == nodes(exported)
