import pytest

from calculators import http_llm_calculator
from calculators.llm.llm_options import LLMCalculatorOptions
from calculators.llm_executor_calculator import LLMExecutorCalculator
from calculators.tags import PROMPT, TOKENS
from server.errors import GraphValidationError
from server.graph import Calculator, Graph, parse_graph_config, validate
from server.payloads import GenerationRequest, TextChunk, TokenChunk

# As demos/common/export_models/export_model.py of OpenVINO Model Server writes it.
GRAPH = """\
# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"

node: {
  name: "LLMExecutor"
  calculator: "calculators.http_llm_calculator:HttpLLMCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  input_side_packet: "LLM_NODE_RESOURCES:llm"
  input_side_packet: "LLM_NODE_EXECUTION_CONTEXTS:llm_ctx"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info: {
    tag_index: 'LOOPBACK:0',
    back_edge: true
  }
  node_options: {
      [type.googleapis.com / mediapipe.LLMCalculatorOptions]: {
          models_path: "./",
          plugin_config: '{ "KV_CACHE_PRECISION": "u8"}',
          enable_prefix_caching: true,
          cache_size: 0,
          max_num_seqs: 256,
          device: "CPU",
      }
  }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler",
    options {
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
        sync_set {
          tag_index: "LOOPBACK:0"
        }
      }
    }
  }
}
"""


class EchoExecutor(Calculator[LLMCalculatorOptions]):
    """Generates what the prompt says, token by token, then the end token."""

    contract = LLMExecutorCalculator.contract

    async def process(self, cc):
        """Stand in for a model."""
        prompt = await cc.receive(PROMPT)
        for token_id in prompt.token_ids:
            await cc.send(TOKENS, TokenChunk(prompt, 0, (token_id,), lambda: None))
        await cc.send(TOKENS, TokenChunk(prompt, 0, (2,), lambda: None, finish_reason="stop"))


def test_a_graph_of_model_server_becomes_four_nodes(tmp_path):
    graph = validate(parse_graph_config(GRAPH, "graph.pbtxt"), tmp_path)
    assert (graph.input.type, graph.output.type) == (GenerationRequest, TextChunk)
    assert [node.name for node in graph.nodes] == [
        "LLMExecutor__Tokenizer",
        "LLMExecutor__OutputParser",
        "LLMExecutor__LLMExecutor",
        "LLMExecutor__Detokenizer",
    ]
    tokenizer, parser, executor, _ = (node.options for node in graph.nodes)
    assert tokenizer.models_path == executor.models_path == "./"
    assert executor.plugin_config == '{ "KV_CACHE_PRECISION": "u8"}'
    assert executor.enable_prefix_caching
    assert (parser.tool_parser, parser.reasoning_parser) == ("", "")


def test_its_parsers_are_those_of_the_parser_node(tmp_path):
    text = GRAPH.replace(
        'device: "CPU"', 'device: "CPU", tool_parser: "hermes3", reasoning_parser: "qwen3"'
    )
    graph = validate(parse_graph_config(text, "graph.pbtxt"), tmp_path)
    _, parser, executor, _ = (node.options for node in graph.nodes)
    assert (parser.tool_parser, parser.reasoning_parser) == ("hermes3", "qwen3")
    assert type(executor) is LLMExecutorCalculator.options_class


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('tool_parser: "hermes4"', "tool_parser is 'hermes4'; did you mean 'hermes3'.*none"),
        ('reasoning_parser: "qwen"', "reasoning_parser is 'qwen'; did you mean 'qwen3'.*none"),
        ('tool_parser: "gptoss" reasoning_parser: "qwen3"', "for both or for neither"),
        (
            'enable_tool_guided_generation: true tool_parser: "functionary"',
            "enable_tool_guided_generation is not possible with the tool_parser 'functionary_v32'; "
            "possible: .*devstral, .*hermes3, .*llama3, .*phi4",
        ),
        (
            'enable_tool_guided_generation: true tool_parser: "none"',
            "enable_tool_guided_generation is not possible with the tool_parser 'none'",
        ),
        ('tool_parser: "x" draft_device: "CPU"', "tool_parser is 'x'.*draft_device is 'CPU'"),
    ],
)
def test_parsers_that_are_not_there_are_refused(tmp_path, text, message):
    config = parse_graph_config(GRAPH.replace('device: "CPU"', text), "graph.pbtxt")
    with pytest.raises(GraphValidationError, match=message):
        validate(config, tmp_path)


@pytest.fixture
async def graph(monkeypatch, byte_level):
    monkeypatch.setattr(http_llm_calculator, "LLMExecutorCalculator", EchoExecutor)
    config = parse_graph_config(GRAPH, "graph.pbtxt")
    graph = await Graph.load(config, byte_level.path, "model")
    yield graph
    await graph.close()


async def generate(graph, **fields):
    async with graph.start_run(GenerationRequest("request", **fields)) as run:
        return [chunk async for chunk in run]


async def test_text_goes_through_all_nodes(graph):
    texts = await generate(graph, prompt="Grüße, 日本語 😀")
    assert "".join(text.text for text in texts) == "Grüße, 日本語 😀"
    assert texts[-1].finish_reason == "stop"
    assert texts[-1].num_completion_tokens == texts[-1].num_prompt_tokens + 1


async def test_a_chat_is_rendered_by_the_template_of_the_model(graph):
    texts = await generate(graph, messages=({"role": "user", "content": "Hi"},))
    # The special tokens of the template are tokens of the prompt, and no text.
    assert "".join(text.text for text in texts) == "user\nHi\nassistant\n"


async def test_a_stop_string_ends_the_run(graph):
    texts = await generate(graph, prompt="one two three", stop=("wo",))
    assert "".join(text.text for text in texts) == "one t"
    assert texts[-1].stop_reason == "wo"


async def test_tool_calls_of_a_chat_are_found(monkeypatch, byte_level):
    monkeypatch.setattr(http_llm_calculator, "LLMExecutorCalculator", EchoExecutor)
    text = GRAPH.replace('device: "CPU"', 'device: "CPU", tool_parser: "hermes3"')
    graph = await Graph.load(parse_graph_config(text, "graph.pbtxt"), byte_level.path, "model")
    call = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    messages = ({"role": "user", "content": call},)
    tools = ({"type": "function", "function": {"name": "f"}},)
    with_tools = await generate(graph, messages=messages, tools=tools)
    assert [call.name for text in with_tools for call in text.tool_calls if call.name] == ["f"]
    assert with_tools[-1].finish_reason == "tool_calls"
    without = await generate(graph, messages=messages)
    assert call in "".join(text.text for text in without)
    await graph.close()
