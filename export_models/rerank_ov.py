"""The task rerank_ov: export a model that scores documents for a query."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from export_models.arguments import add_common_flags, common_options
from export_models.graph_text import node_graph
from export_models.text_encoders import TextEncoderExport
from server.models.tasks import RERANK
from server.terminal.export_help import TASK_HELP
from server.terminal.flag_parser import FlagParser
from server.terminal.flag_values import at_least

__all__ = ["add_flags", "run"]


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
    add(
        "--num_streams",
        type=at_least(1),
        default=1,
        metavar="NUMBER",
        help=f"{TASK_HELP['--num_streams']} Use at least 2 with two CPU sockets (default: 1).",
    )


def run(parser: FlagParser, values: argparse.Namespace) -> None:
    """Export the model that the command line names. Raises ExportError or ConfigError."""
    _Export(common_options(parser, values), values).run()


class _Export(TextEncoderExport):
    task = RERANK
    sources = frozenset({"rerank", "text_generation", "embeddings"})
    optimum_task = "text-classification"

    def tokenizer_flags(self) -> Sequence[str]:
        """The server puts special tokens between query and document."""
        length = str(self.values.max_doc_length)
        return ("--whole-texts", "--without-special-tokens", "--max-length", length)

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
