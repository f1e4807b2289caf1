"""The task speech2text: export a model that writes down speech."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from export_models.arguments import add_common_flags, add_num_streams, common_options
from export_models.conversion.converter import Converter, carry_files
from export_models.export_run import Export
from export_models.graph_text import node_graph
from export_models.quantization.weight_formats import weight_flags
from export_models.source import Source
from export_models.staging import Staging
from server.host.model_files import (
    DECODER_FILE,
    DETOKENIZER_FILE,
    ENCODER_FILE,
    TOKENIZER_FILE,
)
from server.models.tasks import SPEECH_TO_TEXT
from server.terminal.flag_parser import FlagParser

__all__ = ["add_flags", "run"]

OPTIMUM_TASK = "automatic-speech-recognition-with-past"
# openvino-genai reads how sound becomes numbers, and which tokens stand for languages and tasks.
CARRIED_FILES = ("generation_config.json", "preprocessor_config.json")


def add_flags(parser: FlagParser) -> None:
    """Add the flags of this task."""
    add_common_flags(parser)
    add = parser.add_section("speech", "How speech is written down")
    add_num_streams(add, 0, "0 means 1")
    add(
        "--enable_word_timestamps",
        action="store_true",
        help="Let requests ask when each word begins and ends.",
    )


def run(parser: FlagParser, values: argparse.Namespace) -> None:
    """Export the model that the command line names. Raises ExportError or ConfigError."""
    _Export(common_options(parser, values), values).run()


class _Export(Export):
    task = SPEECH_TO_TEXT
    sources = frozenset({"speech2text"})

    def model_files(self, folder: Path) -> Sequence[str]:
        return (ENCODER_FILE, DECODER_FILE, TOKENIZER_FILE, DETOKENIZER_FILE)

    def convert(self, converter: Converter, source: Source, staging: Staging) -> None:
        self.report(f"converting {source.text} to OpenVINO, {self.weight_format} weights")
        flags = [*weight_flags(self.weight_format, is_text=False), *converter.extra_params]
        converter.convert_model(source, staging, OPTIMUM_TASK, flags)
        folder = converter.fetch(source, staging, CARRIED_FILES)
        carry_files(folder, staging.model_folder, CARRIED_FILES)

    def graph_text(self, models_path: str, model: Path) -> str:
        plugin_config = self.plugin_config(NUM_STREAMS=str(self.values.num_streams or 1))
        options = {
            "models_path": models_path,
            "plugin_config": json.dumps(plugin_config, ensure_ascii=False),
            "target_device": self.options.target_device,
            "enable_word_timestamps": self.values.enable_word_timestamps,
        }
        side_packet = "STT_NODE_RESOURCES:s2t_servable"
        return node_graph(
            self.task, side_packet, "S2tCalculatorOptions", options, has_loopback=True
        )
