"""The task text2speech: export a model that reads texts aloud."""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from export_models.arguments import add_common_flags, add_num_streams, common_options
from export_models.conversion.converter import Converter, carry_files, require_package
from export_models.export_run import Export
from export_models.graph_text import node_graph
from export_models.quantization.weight_formats import weight_flags
from export_models.source import Source
from export_models.staging import Staging
from server.errors import ExportError
from server.host.model_files import DECODER_FILE, ENCODER_FILE, MODEL_FILE, TOKENIZER_FILE
from server.models.tasks import TEXT_TO_SPEECH
from server.terminal.export_help import TASK_HELP
from server.terminal.flag_parser import FlagParser

__all__ = ["add_flags", "run"]

OPTIMUM_TASK = "text-to-audio"
KOKORO, SPEECHT5 = "kokoro", "speecht5"
SPEECHT5_FILES = (
    ENCODER_FILE,
    DECODER_FILE,
    "openvino_postnet.xml",
    "openvino_vocoder.xml",
    TOKENIZER_FILE,
)
CARRIED_FILES = ("generation_config.json", "preprocessor_config.json")
SPEAKER_BYTES = 512 * 4
"""A SpeechT5 voice: 512 numbers, f32, little endian."""


def add_flags(parser: FlagParser) -> None:
    """Add the flags of this task."""
    add_common_flags(parser)
    add = parser.add_section("speech", "How texts are read aloud")
    add("--model_type", choices=(KOKORO, SPEECHT5), help=TASK_HELP["--model_type"])
    add("--vocoder", metavar="MODEL", help=TASK_HELP["--vocoder"])
    add(
        "--speaker_name",
        metavar="NAME",
        help="Name of the voice in --speaker_path, which requests ask for.",
    )
    add(
        "--speaker_path",
        type=Path,
        metavar="FILE",
        help="A voice of SpeechT5: a file of 512 numbers, f32. It is copied into the model's "
        "folder.",
    )
    add_num_streams(add, 0, "0 means 1")


def run(parser: FlagParser, values: argparse.Namespace) -> None:
    """Export the model that the command line names. Raises ExportError or ConfigError."""
    if (values.speaker_name is None) != (values.speaker_path is None):
        parser.error("--speaker_name and --speaker_path: one needs the other")
    if values.speaker_path is not None:
        problem = _find_speaker_problem(values.speaker_path)
        if problem is not None:
            parser.error(f"--speaker_path {values.speaker_path}: {problem}")
    _Export(common_options(parser, values), values).run()


def _find_speaker_problem(file: Path) -> str | None:
    if not file.is_file():
        return "no such file"
    size = file.stat().st_size
    if size == SPEAKER_BYTES:
        return None
    return f"holds {size} bytes; a voice of SpeechT5 is 512 numbers, f32: {SPEAKER_BYTES} bytes"


class _Export(Export):
    task = TEXT_TO_SPEECH
    sources = frozenset({"text2speech"})

    def model_files(self, folder: Path) -> Sequence[str]:
        return (MODEL_FILE,) if (folder / MODEL_FILE).exists() else SPEECHT5_FILES

    def convert(self, converter: Converter, source: Source, staging: Staging) -> None:
        config = converter.read_config(source, staging)
        kind = str(config.get("model_type") or KOKORO)
        asked = self.values.model_type
        if kind not in (KOKORO, SPEECHT5) or (asked and asked != kind):
            wanted = asked or f"{SPEECHT5} or {KOKORO}"
            raise ExportError(f"{source.text}: is a model of the kind {kind}, not {wanted}")
        self.report(f"converting {source.text} to OpenVINO, {self.weight_format} weights")
        flags = [*weight_flags(self.weight_format, is_text=False), *converter.extra_params]
        if kind == KOKORO:
            require_package("kokoro", "the Python package of Kokoro", "kokoro")
            converter.convert_model(source, staging, OPTIMUM_TASK, flags, library=KOKORO)
            return
        require_package("sentencepiece", "sentencepiece", "'.[export-speech]'")
        self._convert_speecht5(converter, source, staging, flags)

    def _convert_speecht5(
        self, converter: Converter, source: Source, staging: Staging, flags: Sequence[str]
    ) -> None:
        if not self.values.vocoder:
            raise ExportError(
                f"{source.text}: SpeechT5 needs a vocoder: --vocoder microsoft/speecht5_hifigan"
            )
        vocoder = Path(self.values.vocoder).expanduser()
        is_folder = vocoder.is_dir()
        location = str(vocoder.resolve()) if is_folder else self.values.vocoder
        arguments = json.dumps({"vocoder": location})
        converter = converter if is_folder else converter.with_hub()
        flags = ["--model-kwargs", arguments, *flags]
        converter.convert_model(source, staging, OPTIMUM_TASK, flags)
        folder = converter.fetch(source, staging, CARRIED_FILES)
        carry_files(folder, staging.model_folder, CARRIED_FILES)

    def graph_text(self, models_path: str, model: Path) -> str:
        plugin_config = self.plugin_config(NUM_STREAMS=str(self.values.num_streams or 1))
        options = {
            "models_path": models_path,
            "plugin_config": json.dumps(plugin_config, ensure_ascii=False),
            "target_device": self.options.target_device,
            "voices": self._voices(),
        }
        return node_graph(
            self.task, "TTS_NODE_RESOURCES:t2s_servable", "T2sCalculatorOptions", options
        )

    def finish(self, folder: Path) -> None:
        super().finish(folder)
        if self.values.speaker_path is not None:
            target = folder / self._speaker_file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.values.speaker_path, target)

    def _voices(self) -> Sequence[dict[str, str]]:
        if self.values.speaker_name is None:
            return ()
        return [{"name": self.values.speaker_name, "path": f"./{self._speaker_file}"}]

    @property
    def _speaker_file(self) -> str:
        return f"voices/{self.values.speaker_path.name}"
