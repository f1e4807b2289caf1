"""The text of the graph.pbtxt that serves an exported model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from server.graph import quote, write_graph_config
from server.models.tasks import Task

__all__ = ["EnumName", "TextGenerationGraph", "node_graph"]

# OVMS keeps that many graph objects ready. It reads the line although it is a comment.
HEADER = "# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO"
COMMENTS = {"draft_models_path": "Speculative decoding configuration"}
BACK_EDGE = """  input_stream_info: {
    tag_index: "LOOPBACK:0"
    back_edge: true
  }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler"
    options {
      [mediapipe.SyncSetInputStreamHandlerOptions.ext] {
        sync_set {
          tag_index: "LOOPBACK:0"
        }
      }
    }
  }"""


@dataclass(frozen=True)
class TextGenerationGraph:
    """The options of the default graph; one that is None is not written, the default holds."""

    pipeline_type: str | None = None
    models_path: str = "./"
    plugin_config: Mapping[str, object] = field(default_factory=dict)
    enable_prefix_caching: bool = True
    cache_size: int = 0
    cache_interval_multiplier: int | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int = 256
    dynamic_split_fuse: bool | None = None
    enable_tool_guided_generation: bool | None = None
    device: str = "CPU"
    draft_models_path: str | None = None
    draft_device: str | None = None
    draft_eagle3_mode: bool | None = None
    tool_parser: str | None = None
    reasoning_parser: str | None = None

    def text(self) -> str:
        """graph.pbtxt: the nodes that HttpLLMCalculator stands for, from tokenizer to parser."""
        # They import OpenVINO, for which `export_model --help` should not wait.
        from calculators.http_llm_calculator import HttpLLMCalculator, HttpLLMCalculatorOptions
        from calculators.llm.llm_options import PipelineType

        options = {name: value for name, value in vars(self).items() if value is not None}
        options["plugin_config"] = json.dumps(self.plugin_config, ensure_ascii=False)
        if self.pipeline_type is not None:
            options["pipeline_type"] = PipelineType[self.pipeline_type]
        nodes = HttpLLMCalculator().expand("", HttpLLMCalculatorOptions(**options))
        graph = replace(
            nodes, input_streams=("GENERATION_REQUEST:request",), output_streams=("TEXT:text",)
        )
        return write_graph_config(graph, options, COMMENTS)


class EnumName(str):
    """A member of an enum, which graph.pbtxt has without quotes."""


def node_graph(
    task: Task,
    side_packet: str,
    options_type: str,
    options: Mapping[str, object],
    *,
    has_loopback: bool = False,
) -> str:
    """OVMS's graph of a task: one node, with these options in this order.

    An option that is None is left out. A mapping is a message, a list of them a repeated one. With
    `has_loopback` OVMS runs the node once for each part of an answer.
    """
    request, response = task.tags
    loopback = "LOOPBACK:loopback"
    inputs = [loopback, f"{request}:input"] if has_loopback else [f"{request}:input"]
    outputs = [loopback, f"{response}:output"] if has_loopback else [f"{response}:output"]
    lines = [
        HEADER,
        f'input_stream: "{request}:input"',
        f'output_stream: "{response}:output"',
        "",
        "node {",
        f'  name: "{task.node_name}"',
        f'  calculator: "{task.calculator}"',
        *(f'  input_stream: "{stream}"' for stream in inputs),
        f'  input_side_packet: "{side_packet}"',
        *(f'  output_stream: "{stream}"' for stream in outputs),
        *([BACK_EDGE] if has_loopback else []),
        "  node_options: {",
        f"    [type.googleapis.com/mediapipe.{options_type}]: {{",
        *(f"      {line}" for line in _fields(options)),
        "    }",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _fields(values: Mapping[str, object]) -> Iterator[str]:
    for name, value in values.items():
        for item in (
            value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        ):
            if isinstance(item, Mapping):
                yield f"{name} {{"
                yield from (f"  {line}" for line in _fields(item))
                yield "}"
            elif item is not None:
                yield f"{name}: {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, EnumName) or not isinstance(value, str):
        return str(value)
    return quote(value)
