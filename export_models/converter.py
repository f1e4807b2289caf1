"""Converts Hugging Face checkpoints to OpenVINO folders, with the tools made for it.

optimum-intel takes seconds to import and may take most of the memory: it runs as a process of its
own, is started only when there is something to convert, and its failures become one line.
"""

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from export_models.converter_failures import explain_failure, find_random_weights
from export_models.model_files import find_missing_part
from export_models.progress import Progress
from export_models.quantization.calibration_file import CalibrationSample
from export_models.quantization.weight_formats import weight_flags
from export_models.source import Source, SourceKind, read_config
from export_models.staging import Staging
from export_models.tool import run_tool
from server.errors import ExportError
from server.host.model_files import DETOKENIZER_FILE

__all__ = ["Converter"]

TASK = "text-generation-with-past"
ENCODER_DECODER_TASK = "text2text-generation-with-past"
FULL_QUANTIZATION = Path(__file__).with_name("quantization") / "full_quantization.py"
HALF_PRECISION = FULL_QUANTIZATION.with_name("half_precision.py")
# Full quantization starts from fp16: more digits would only take disk space.
FORMAT_TO_QUANTIZE = "fp16"
EXPORT_EXTRA = "pip install '.[export]'"
# Files of a checkpoint that the server reads unchanged.
CARRIED_FILES = (
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tokenizer_config.json",
)
# What the converter prints as it goes, what that means, and roughly how much is done then.
MILESTONES = {
    "Loading weights": ("reading the weights", 0.1),
    "TracerWarning": ("translating the model", 0.3),
    "calibrating on": ("measuring the activations", 0.5),
    "Statistics of the bitwidth": ("compressing the weights", 0.6),
    "Applying Smooth Quant": ("smoothing the activations", 0.8),
}
CONVERT_TOKENIZER = "export_models.tokenizer.conversion"


@dataclass(frozen=True)
class Converter:
    """Makes an OpenVINO text generation model from any other source.

    `extra_params` go to the tool's command line unchanged. `trust_remote_code` lets Python code
    that comes with the source run here. `quant_mode` int8 quantizes activations too: they are
    measured on the `calibration` samples, or else on texts that the model generates.
    """

    weight_format: str
    progress: Progress
    extra_params: Sequence[str] = ()
    quant_mode: str | None = None
    calibration: Sequence[CalibrationSample] = ()
    trust_remote_code: bool = False
    is_verbose: bool = False

    def convert(self, source: Source, staging: Staging) -> None:
        """Fill `staging.model_folder`. Raises ExportError."""
        if importlib.util.find_spec("optimum") is None:
            raise ExportError(f"optimum-intel is not installed; it comes with: {EXPORT_EXTRA}")
        if source.kind is SourceKind.OPENVINO_HUB:
            self._download(source, staging)
        else:
            self._convert_model(source, staging)
        problem = find_missing_part(staging.model_folder)
        if problem:
            raise ExportError(f"{source.text}: the result is no complete model: {problem}")

    def _download(self, source: Source, staging: Staging) -> None:
        self.progress.step(f"downloading {source.text}, which is an OpenVINO model already")
        folder = str(staging.model_folder)
        command = ["-m", "huggingface_hub.cli.hf", "download", source.text, "--local-dir", folder]
        self._run(command, source, staging)
        shutil.rmtree(staging.model_folder / ".cache", ignore_errors=True)

    def _convert_model(self, source: Source, staging: Staging) -> None:
        has_encoder = bool(self._config(source, staging).get("is_encoder_decoder"))
        if has_encoder and self.quant_mode:
            raise ExportError(
                f"{source.text}: is an encoder-decoder model, which --quant_mode cannot quantize; "
                "use --weight-format int8"
            )
        weight_format = FORMAT_TO_QUANTIZE if self.quant_mode else self.weight_format
        self.progress.step(f"converting {source.text} to OpenVINO, {weight_format} weights")
        command = ["-m", "export_models.more_architectures", "export", "openvino"]
        command += [f"--model={source.location}", "--library", "transformers"]
        command += ["--task", ENCODER_DECODER_TASK if has_encoder else TASK]
        command += weight_flags(weight_format)
        command += () if self.quant_mode else self.extra_params
        command += ["--trust-remote-code"] if self.trust_remote_code else []
        self._run([*command, str(staging.model_folder)], source, staging)
        if weight_format == "fp16":
            self._run([str(HALF_PRECISION), str(staging.model_folder)], source, staging)
        if not (staging.model_folder / DETOKENIZER_FILE).exists():
            self._convert_tokenizer(source, staging)
        if source.folder:
            _carry_files(source.folder, staging.model_folder)
        if self.quant_mode:
            self._quantize(source, staging)

    def _config(self, source: Source, staging: Staging) -> Mapping[str, object]:
        """The source's config.json; that of a model on the Hub is downloaded."""
        if source.folder is not None:
            return read_config(source.folder)
        folder = staging.temporary_folder / "config"
        command = ["-m", "huggingface_hub.cli.hf", "download", source.text, "config.json"]
        self._run([*command, "--local-dir", str(folder)], source, staging)
        return read_config(folder)

    def _convert_tokenizer(self, source: Source, staging: Staging) -> None:
        self.progress.step("converting the tokenizer")
        command = ["-m", CONVERT_TOKENIZER]
        command += ["--trust-remote-code"] if self.trust_remote_code else []
        self._run([*command, source.location, str(staging.model_folder)], source, staging)

    def _quantize(self, source: Source, staging: Staging) -> None:
        origin = "the calibration file" if self.calibration else "the model's own generations"
        self.progress.step(f"quantizing weights and activations to int8, measured on {origin}")
        command = [str(FULL_QUANTIZATION), str(staging.model_folder), *self.extra_params]
        command += ["--trust-remote-code"] if self.trust_remote_code else []
        if self.calibration:
            samples = staging.temporary_folder / "samples.json"
            samples.write_text(json.dumps([asdict(sample) for sample in self.calibration]))
            command += ["--samples", str(samples)]
        self._run(command, source, staging)

    def _run(self, command: Sequence[str], source: Source, staging: Staging) -> None:
        try:
            result = run_tool(command, self._environment(source, staging), _Follower(self))
        finally:
            self.progress.end()
        if result.return_code != 0:
            reason = explain_failure(result, source)
            raise ExportError(f"{reason} (the converter's output is in {result.log_path})")
        if missing := find_random_weights(result.log):
            raise ExportError(
                f"{source.text}: the checkpoint lacks weights that its architecture has, and "
                f"random numbers would take their places: {missing}"
            )

    def _environment(self, source: Source, staging: Staging) -> dict[str, str]:
        environment = {
            # optimum builds the uncompressed model here: on the disk for models, which is large
            # enough, and in a folder that is removed in any case.
            "TMPDIR": str(staging.temporary_folder),
            # Turns off the usage reports of openvino and nncf: the user did not agree to them, and
            # without a network the process waits for them.
            "CI": "true",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }
        # A folder needs no network, unless a calibration data set must be fetched.
        if source.folder and not any("dataset" in param for param in self.extra_params):
            environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        return environment


class _Follower:
    """Turns what the converter prints into progress."""

    def __init__(self, converter: Converter) -> None:
        self._progress = converter.progress
        self._is_verbose = converter.is_verbose
        self._waiting_for = dict(MILESTONES)
        self._now, self._fraction = "starting the converter", 0.0

    def __call__(self, output: str) -> None:
        if self._is_verbose and output:
            print(output, end="", file=sys.stderr, flush=True)
        for marker in [marker for marker in self._waiting_for if marker in output]:
            self._now, self._fraction = self._waiting_for.pop(marker)
            self._progress.step(self._now)
        self._progress.heartbeat(self._now, self._fraction)


def _carry_files(source: Path, model: Path) -> None:
    """Copy the files that the converter left out, as it does with some chat templates."""
    for name in CARRIED_FILES:
        if (source / name).is_file() and not (model / name).exists():
            shutil.copyfile(source / name, model / name)
