"""The text of the graph.pbtxt that serves a text generation model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["TextGenerationGraph"]

GRAPH = """\
input_stream: "GENERATION_REQUEST:request"
output_stream: "TEXT:text"

node {{
  name: "Tokenizer"
  calculator: "TokenizerCalculator"
  input_stream: "GENERATION_REQUEST:request"
  output_stream: "PROMPT:prompt"
  output_side_packet: "TOKENIZER:tokenizer"
  node_options: {{
    [type.googleapis.com/mediapipe.TokenizerCalculatorOptions]: {{
      models_path: {models_path}
    }}
  }}
}}

node {{
  name: "LLMExecutor"
  calculator: "LLMExecutorCalculator"
  input_stream: "PROMPT:prompt"
  input_side_packet: "TOKENIZER:tokenizer"
  input_side_packet: "OUTPUT_FORMAT:format"
  output_stream: "TOKENS:tokens"
  node_options: {{
    [type.googleapis.com/mediapipe.LLMCalculatorOptions]: {{
{llm_options}
    }}
  }}
}}

node {{
  name: "Detokenizer"
  calculator: "DetokenizerCalculator"
  input_stream: "TOKENS:tokens"
  input_side_packet: "TOKENIZER:tokenizer"
  input_side_packet: "OUTPUT_FORMAT:format"
  output_stream: "TEXT:written"
}}

node {{
  name: "OutputParser"
  calculator: "OutputParserCalculator"
  input_stream: "PROMPT:prompt"
  input_stream: "TEXT:written"
  input_side_packet: "TOKENIZER:tokenizer"
  output_stream: "TEXT:text"
  output_side_packet: "OUTPUT_FORMAT:format"
{parser_options}}}
"""
PARSER_OPTIONS = """\
  node_options: {{
    [type.googleapis.com/mediapipe.OutputParserCalculatorOptions]: {{
{lines}
    }}
  }}
"""


@dataclass(frozen=True)
class TextGenerationGraph:
    """The default graph, from the tokenizer to the output parser, and the options of its nodes.

    A field that is None gets no line, so that the server's own default holds.
    """

    models_path: str = "./"
    plugin_config: Mapping[str, object] = field(default_factory=dict)
    enable_prefix_caching: bool = True
    cache_size: int = 0
    max_num_seqs: int = 256
    max_num_batched_tokens: int | None = None
    dynamic_split_fuse: bool | None = None
    pipeline_type: str | None = None
    device: str = "CPU"
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    enable_tool_guided_generation: bool | None = None

    def text(self) -> str:
        """graph.pbtxt as text protobuf."""
        models_path = _quote(self.models_path, '"')
        lines = {
            "pipeline_type": self.pipeline_type,
            "models_path": models_path,
            "plugin_config": _quote(json.dumps(self.plugin_config, ensure_ascii=False), "'"),
            "enable_prefix_caching": _bool(self.enable_prefix_caching),
            "cache_size": self.cache_size,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_num_seqs": self.max_num_seqs,
            "dynamic_split_fuse": _bool(self.dynamic_split_fuse),
            "enable_tool_guided_generation": _bool(self.enable_tool_guided_generation),
            "device": _quote(self.device, '"'),
        }
        return GRAPH.format(
            models_path=models_path,
            llm_options=_lines(lines),
            parser_options=self._parser_options(),
        )

    def _parser_options(self) -> str:
        names = {"tool_parser": self.tool_parser, "reasoning_parser": self.reasoning_parser}
        lines = _lines({key: name and _quote(name, '"') for key, name in names.items()})
        return PARSER_OPTIONS.format(lines=lines) if lines else ""


def _lines(options: Mapping[str, object]) -> str:
    return "\n".join(f"      {key}: {value}" for key, value in options.items() if value is not None)


def _bool(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _quote(text: str, quote: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
    return f"{quote}{escaped}{quote}"
