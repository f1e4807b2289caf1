"""The task embeddings_ov: export a model that turns texts into vectors."""

import argparse
import json
from pathlib import Path

from export_models.arguments import add_common_flags, add_num_streams, common_options
from export_models.conversion.converter import Converter
from export_models.graph_text import EnumName, node_graph
from export_models.source import Source
from export_models.staging import Staging
from export_models.text_encoders import TextEncoderExport
from server.models.tasks import EMBEDDINGS
from server.terminal.export_help import TASK_HELP
from server.terminal.flag_parser import FlagParser

__all__ = ["add_flags", "run"]

POOLINGS = ("CLS", "LAST", "MEAN")


def add_flags(parser: FlagParser) -> None:
    """Add the flags of this task."""
    add_common_flags(parser)
    add = parser.add_section("vectors", "How vectors are made")
    add("--pooling", choices=POOLINGS, help=TASK_HELP["--pooling"])
    add("--skip_normalize", action="store_true", help="Do not scale vectors to the length 1.")
    add(
        "--truncate",
        action="store_true",
        help="Cut texts that are too long for the model, instead of refusing them.",
    )
    add_num_streams(add, 1, "Use at least 2 with two CPU sockets")


def run(parser: FlagParser, values: argparse.Namespace) -> None:
    """Export the model that the command line names. Raises ExportError or ConfigError."""
    _Export(common_options(parser, values), values).run()


class _Export(TextEncoderExport):
    task = EMBEDDINGS
    # Many embedders are language models, and some are published as one.
    sources = frozenset({"embeddings", "text_generation", "rerank"})
    # BERT's, which embedders do not use; many of them are published without its weights.
    unused_module = "pooler"

    def find_optimum_task(self, converter: Converter, source: Source, staging: Staging) -> str:
        return "feature-extraction"

    def graph_text(self, models_path: str, model: Path) -> str:
        values = self.values
        plugin_config = self.plugin_config(NUM_STREAMS=str(values.num_streams))
        options = {
            "models_path": models_path,
            "plugin_config": json.dumps(plugin_config, ensure_ascii=False),
            "normalize_embeddings": not values.skip_normalize,
            "pooling": EnumName(values.pooling) if values.pooling else None,
            "truncate": True if values.truncate else None,
            "target_device": self.options.target_device,
        }
        side_packet = "EMBEDDINGS_NODE_RESOURCES:embeddings_servable"
        return node_graph(self.task, side_packet, "EmbeddingsCalculatorOVOptions", options)
