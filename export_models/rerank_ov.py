"""The task rerank_ov: export a model that scores documents for a query."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from export_models.arguments import add_common_flags, add_num_streams, common_options
from export_models.conversion.converter import Converter
from export_models.graph_text import node_graph
from export_models.source import Source
from export_models.staging import Staging
from export_models.text_encoders import TextEncoderExport
from export_models.verification.verify_model import ModelVerifier
from server.models.model_signs import ModelSigns
from server.models.tasks import RERANK
from server.terminal.export_help import TASK_HELP
from server.terminal.flag_parser import FlagParser
from server.terminal.flag_values import at_least

__all__ = ["add_flags", "run"]

CLASSIFICATION = "text-classification"
GENERATION = "text-generation-with-past"


def add_flags(parser: FlagParser) -> None:
    """Add the flags of this task."""
    add_common_flags(parser)
    add = parser.add_section("scores", "How documents are scored")
    add(
        "--max_doc_length",
        type=at_least(1),
        default=16000,
        metavar="TOKENS",
        help="Longest document; the tokenizer cuts the rest (default: 16000).",
    )
    add(
        "--max_allowed_chunks",
        type=at_least(1),
        metavar="NUMBER",
        help=TASK_HELP["--max_allowed_chunks"],
    )
    add_num_streams(add, 1, "Use at least 2 with two CPU sockets")


def run(parser: FlagParser, values: argparse.Namespace) -> None:
    """Export the model that the command line names. Raises ExportError or ConfigError."""
    _Export(common_options(parser, values), values).run()


class _Export(TextEncoderExport):
    task = RERANK
    sources = frozenset({"rerank", "text_generation", "embeddings"})

    def find_optimum_task(self, converter: Converter, source: Source, staging: Staging) -> str:
        """A language model such as Qwen3-Reranker answers yes or no, and stays one."""
        names = converter.read_config(source, staging).get("architectures")
        is_generator = isinstance(names, list) and any("CausalLM" in str(name) for name in names)
        return GENERATION if is_generator else CLASSIFICATION

    def tokenizer_flags(self, optimum_task: str) -> Sequence[str]:
        """The server puts special tokens between query and document."""
        length = ("--max-length", str(self.values.max_doc_length))
        if optimum_task == GENERATION:
            return length
        return ("--whole-texts", "--without-special-tokens", *length)

    def verify(self, folder: Path, source: Source) -> None:
        if ModelSigns(folder).generates_text():
            ModelVerifier(self.progress, self.options.trust_remote_code).verify(folder, source)
        else:
            super().verify(folder, source)

    def graph_text(self, models_path: str, model: Path) -> str:
        plugin_config = self.plugin_config(NUM_STREAMS=str(self.values.num_streams))
        options = {
            "models_path": models_path,
            "plugin_config": json.dumps(plugin_config, ensure_ascii=False),
            "max_allowed_chunks": self.values.max_allowed_chunks,
            "target_device": self.options.target_device,
        }
        side_packet = "RERANK_NODE_RESOURCES:rerank_servable"
        return node_graph(self.task, side_packet, "RerankCalculatorOVOptions", options)
