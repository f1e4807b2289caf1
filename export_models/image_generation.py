"""The task image_generation: export a pipeline that makes images."""

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from export_models.arguments import add_common_flags, add_num_streams, common_options
from export_models.conversion.converter import Converter, require_package
from export_models.conversion.failures import explain_failure
from export_models.conversion.tool import run_tool
from export_models.export_run import Export
from export_models.graph_text import node_graph
from export_models.loras import LoraAdapter, LoraMixture, graph_options, parse_loras
from export_models.quantization.weight_formats import weight_flags
from export_models.source import Source, SourceKind
from export_models.staging import Staging
from server.errors import ExportError
from server.host.model_files import MODEL_FILE
from server.models.tasks import IMAGE_GENERATION
from server.terminal.export_help import TASK_HELP
from server.terminal.flag_parser import FlagParser
from server.terminal.flag_values import at_least, number

__all__ = ["add_flags", "run"]

HUB = SourceKind.CHECKPOINT_HUB
OPTIMUM_TASK = "text-to-image"
INDEX_FILE = "model_index.json"
# The parts of a pipeline in model_index.json that become a model each; a vae becomes two.
PARTS = ("text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer")
RESOLUTION = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})", re.ASCII)
COUNTS = ("max_num_images_per_prompt", "default_num_inference_steps", "max_num_inference_steps")


def add_flags(parser: FlagParser) -> None:
    """Add the flags of this task."""
    add_common_flags(parser)
    add = parser.add_section("images", "How images are made")
    add("--resolution", type=_resolutions, metavar="SIZES", help=TASK_HELP["--resolution"])
    add("--guidance_scale", type=number, metavar="NUMBER", help=TASK_HELP["--guidance_scale"])
    add(
        "--num_images_per_prompt",
        type=at_least(1),
        metavar="NUMBER",
        help=TASK_HELP["--num_images_per_prompt"],
    )
    for name in ("max_resolution", "default_resolution"):
        add(f"--{name}", type=_resolution, metavar="SIZE", help=TASK_HELP[f"--{name}"])
    for name in COUNTS:
        add(f"--{name}", type=at_least(0), default=0, metavar="NUMBER", help=TASK_HELP[f"--{name}"])
    add("--source_loras", type=_loras, metavar="ADAPTERS", help=TASK_HELP["--source_loras"])
    add_num_streams(add, 0, "0 is OpenVINO's choice")


def run(parser: FlagParser, values: argparse.Namespace) -> None:
    """Export the pipeline that the command line names. Raises ExportError or ConfigError."""
    _Export(common_options(parser, values), values).run()


def _resolution(text: str) -> str:
    match = RESOLUTION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; the form is WxH, 1024x768")
    return text


def _resolutions(text: str) -> str:
    if not text.split():
        raise argparse.ArgumentTypeError("holds no size; the form is WxH, 1024x768")
    return " ".join(_resolution(part) for part in text.split())


def _loras(text: str) -> tuple[Sequence[LoraAdapter], Sequence[LoraMixture]]:
    try:
        return parse_loras(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class _Export(Export):
    task = IMAGE_GENERATION
    sources = frozenset({"image_generation"})

    def model_files(self, folder: Path) -> Sequence[str]:
        try:
            index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            index = {}
        parts = [name for name in PARTS if any(index.get(name) or ())]
        return [f"{name}/{MODEL_FILE}" for name in (*parts, "vae_decoder")]

    def convert(self, converter: Converter, source: Source, staging: Staging) -> None:
        require_package("diffusers", "diffusers", "'.[export-images]'")
        self.report(f"converting {source.text} to OpenVINO, {self.weight_format} weights")
        flags = [*weight_flags(self.weight_format, is_text=False), *converter.extra_params]
        converter.convert_model(source, staging, OPTIMUM_TASK, flags, library="diffusers")

    def graph_text(self, models_path: str, model: Path) -> str:
        values = self.values
        streams = {"NUM_STREAMS": values.num_streams} if values.num_streams else {}
        plugin_config = self.plugin_config(**streams)
        text = json.dumps(plugin_config, ensure_ascii=False)
        options = {
            "models_path": models_path,
            "plugin_config": text if plugin_config else None,
            "device": self.options.target_device,
            "resolution": values.resolution,
            "num_images_per_prompt": values.num_images_per_prompt,
            "guidance_scale": values.guidance_scale,
            "max_resolution": values.max_resolution,
            "default_resolution": values.default_resolution,
            **{name: getattr(values, name) or None for name in COUNTS},
        }
        if values.source_loras:
            adapters, mixtures = values.source_loras
            files = {adapter.alias: f"loras/{adapter.alias}.safetensors" for adapter in adapters}
            options |= graph_options(adapters, mixtures, files)
        side_packet = "IMAGE_GEN_NODE_RESOURCES:pipes"
        return node_graph(self.task, side_packet, "ImageGenCalculatorOptions", options)

    def finish(self, folder: Path) -> None:
        super().finish(folder)
        for adapter in self.values.source_loras[0] if self.values.source_loras else ():
            target = folder / "loras" / f"{adapter.alias}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            if adapter.path is not None:
                shutil.copyfile(adapter.path, target)
            elif self.options.overwrite_models or not target.exists():
                self._fetch(adapter, target)

    def _fetch(self, adapter: LoraAdapter, target: Path) -> None:
        self.report(f"fetching the adapter {adapter.alias} from {adapter.source}")
        command = ["-m", "export_models.conversion.fetch_file", adapter.source, str(target)]
        command += ["--file", adapter.file] if adapter.file else []
        result = run_tool(command, {}, lambda _: self.progress.heartbeat("fetching", 0.0))
        self.progress.end()
        if result.return_code != 0:
            raise ExportError(explain_failure(result, Source(adapter.source, HUB)))
