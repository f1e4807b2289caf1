"""The text of the graph.pbtxt that serves a text generation model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from server.graph import write_graph_config

__all__ = ["TextGenerationGraph"]


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
        return write_graph_config(graph, options)
