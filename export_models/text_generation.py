"""The task text_generation: export a language model for chat and completions."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from calculators.output_parsers import NO_PARSER, find_parser_problems, parser_names
from export_models.arguments import (
    CommonOptions,
    UnsupportedFlag,
    add_common_flags,
    common_options,
)
from export_models.converter import Converter
from export_models.graph_text import TextGenerationGraph
from export_models.model_files import find_missing_part
from export_models.model_repository import ModelFolder, check_model_name
from export_models.progress import Progress
from export_models.quantization.calibration_file import read_calibration_file
from export_models.quantization.weight_formats import resolve_weight_format
from export_models.source import Source, SourceKind, find_source
from export_models.tunings import find_tunings
from export_models.verification.verify_model import ModelVerifier
from server.errors import ExportError
from server.models.config_file import ConfigFile
from server.terminal.export_help import EXPORT_HELP
from server.terminal.flag_parser import FlagParser, Switch, boolean
from server.terminal.flag_values import at_least

__all__ = ["add_flags", "run"]

PIPELINE_TYPES = ("LM", "LM_CB", "AUTO")
QUANT_MODES = ("int8",)
MAX_SAMPLES = 128
UNSUPPORTED_FLAGS = {
    "--draft_source_model": "speculative decoding",
    "--draft_model_name": "speculative decoding",
    "--draft_eagle3_mode": "speculative decoding",
    "--prompt_lookup_decoding": "speculative decoding",
    "--max_prompt_len": "it is for NPU only",
}


def add_flags(parser: FlagParser) -> None:
    """Add the flags of this task."""
    add_common_flags(parser)
    _add_precision_flags(parser)
    _add_engine_flags(parser)
    _add_parser_flags(parser)


def _add_precision_flags(parser: FlagParser) -> None:
    add = parser.add_section("precision", "How precise activations and the KV cache are")
    add("--quant_mode", choices=QUANT_MODES, help=EXPORT_HELP["--quant_mode"])
    add(
        "--calibration_file",
        type=Path,
        metavar="FILE",
        help=EXPORT_HELP["--calibration_file"],
    )
    add("--kv_cache_precision", choices=["u8"], help=EXPORT_HELP["--kv_cache_precision"])


def _add_engine_flags(parser: FlagParser) -> None:
    add = parser.add_section("engine", "How the engine batches requests")
    add("--pipeline_type", type=_pipeline_type, metavar="TYPE", help=EXPORT_HELP["--pipeline_type"])
    add(
        "--enable_prefix_caching",
        type=boolean,
        default=True,
        metavar="BOOL",
        help=EXPORT_HELP["--enable_prefix_caching"],
    )
    add(
        "--disable_dynamic_split_fuse",
        action="store_true",
        help="Compute each prompt in one piece, instead of in chunks mixed with decoding.",
    )
    for flag, minimum, default in (
        ("--max_num_batched_tokens", 1, None),
        ("--max_num_seqs", 1, 256),
        ("--cache_size", 0, 0),
        ("--cache_interval_multiplier", 1, None),
    ):
        add(
            flag,
            type=at_least(minimum),
            default=default,
            metavar="NUMBER",
            help=EXPORT_HELP[flag],
        )


def _add_parser_flags(parser: FlagParser) -> None:
    add = parser.add_section("parsers", "Tool calls and reasoning")
    for option in ("tool_parser", "reasoning_parser"):
        names = ", ".join([*parser_names(option), NO_PARSER])
        text = EXPORT_HELP[f"--{option}"]
        add(f"--{option}", metavar="NAME", help=f"{text} Possible: {names}.")
    add(
        "--enable_tool_guided_generation",
        action=Switch,
        help=EXPORT_HELP["--enable_tool_guided_generation"],
    )
    for flag, reason in UNSUPPORTED_FLAGS.items():
        add(flag, action=UnsupportedFlag, reason=reason)


def run(parser: FlagParser, values: argparse.Namespace) -> None:
    """Export the model that the command line names. Raises ExportError or ConfigError."""
    problems = find_parser_problems(
        values.tool_parser or "",
        values.reasoning_parser or "",
        is_guided=values.enable_tool_guided_generation,
    )
    if problems:
        parser.error("; ".join(f"--{problem}" for problem in problems))
    _check_quant_mode(parser, values)
    _Export(common_options(parser, values), values, Progress()).run()


def _check_quant_mode(parser: FlagParser, values: argparse.Namespace) -> None:
    if values.quant_mode and values.weight_format:
        parser.error("--quant_mode and --weight-format: only one of them is possible")
    if values.calibration_file and not values.quant_mode:
        parser.error("--calibration_file: is for --quant_mode, which is not given")


@dataclass(frozen=True)
class _Export:
    """One run: source -> model folder -> graph.pbtxt -> config.json, cheap checks first."""

    options: CommonOptions
    values: argparse.Namespace
    progress: Progress

    def run(self) -> None:
        source = find_source(self.options.source_model)
        name = source.model_name if self.options.model_name is None else self.options.model_name
        check_model_name(name)
        folder = ModelFolder(self.options.model_repository_path, name)
        config = None if self.options.no_config_file else ConfigFile(self.options.config_file_path)
        if config is not None:
            config.check()
        if self.values.quant_mode and source.is_openvino:
            raise ExportError(
                f"{source.text}: is an OpenVINO model already; --quant_mode needs the Hugging Face "
                "model that it was made of"
            )
        if source.kind is SourceKind.OPENVINO_FOLDER:
            self._use_in_place(source, folder)
        elif self._is_exported(source, folder):
            self._report(f"{folder.path} exists already; --overwrite_models converts it again")
            self._write_graph(folder, "./", folder.path)
        else:
            self._convert(source, folder)
        verifier = ModelVerifier(self.progress, self.options.trust_remote_code)
        if not self.options.no_verify:
            is_in_place = source.kind is SourceKind.OPENVINO_FOLDER
            verifier.verify((source.folder if is_in_place else None) or folder.path, source)
        if config is None:
            self._report(f"{name!r} is in {folder.path}")
            return
        config.add(name, folder.path)
        self._report(f"{name!r} is in {folder.path} and listed in {self.options.config_file_path}")
        refusal = verifier.find_refusal(name, folder.path)
        if refusal is not None:
            print(f"warning: the server refuses it: {refusal}")
            return
        print(f"serve it: server --config_path {self.options.config_file_path}")
        print(f"chat with it: server chat {folder.path}")

    def _use_in_place(self, source: Source, folder: ModelFolder) -> None:
        assert source.folder is not None
        problem = find_missing_part(source.folder)
        if problem:
            raise ExportError(
                f"{source.folder}: {problem}; a tokenizer is made by: convert_tokenizer "
                f"<its Hugging Face model> --with-detokenizer -o {source.folder}"
            )
        self._report(f"{source.folder} is an OpenVINO model already and is used where it is")
        self._write_graph(folder, _models_path(source.folder, folder), source.folder)

    def _is_exported(self, source: Source, folder: ModelFolder) -> bool:
        """Whether the conversion can be skipped. Raises ExportError for a folder of other files."""
        if source.folder == folder.path:
            raise ExportError(
                f"{folder.path}: is the source and would be replaced by the export; "
                "give another --model_name or --model_repository_path"
            )
        if self.options.overwrite_models:
            return False
        if folder.is_occupied():
            raise ExportError(
                f"{folder.path}: holds files that no export wrote; give another --model_name, "
                "or --overwrite_models to replace them"
            )
        problem = folder.find_missing_part()
        if problem and folder.has_model():
            self._report(f"{folder.path} is not complete and is exported again: {problem}")
        return not problem

    def _convert(self, source: Source, folder: ModelFolder) -> None:
        options = self.options
        calibration_file = self.values.calibration_file
        converter = Converter(
            resolve_weight_format(
                options.weight_format, options.target_device, options.extra_quantization_params
            ),
            self.progress,
            options.extra_quantization_params,
            self.values.quant_mode,
            read_calibration_file(calibration_file, MAX_SAMPLES) if calibration_file else (),
            options.trust_remote_code,
            options.verbose,
        )
        with folder.stage() as staging:
            converter.convert(source, staging)
            self._write_graph(folder, "./", staging.model_folder, staging.model_folder)
            staging.commit()

    def _write_graph(
        self, folder: ModelFolder, models_path: str, model: Path, to: Path | None = None
    ) -> None:
        values = self.values
        graph = TextGenerationGraph(
            models_path=models_path,
            plugin_config=self._plugin_config(model),
            enable_prefix_caching=values.enable_prefix_caching,
            cache_size=values.cache_size,
            cache_interval_multiplier=values.cache_interval_multiplier,
            max_num_seqs=values.max_num_seqs,
            max_num_batched_tokens=values.max_num_batched_tokens,
            dynamic_split_fuse=False if values.disable_dynamic_split_fuse else None,
            pipeline_type=values.pipeline_type,
            device=self.options.target_device,
            tool_parser=values.tool_parser,
            reasoning_parser=values.reasoning_parser,
            enable_tool_guided_generation=values.enable_tool_guided_generation or None,
        )
        if folder.write_graph(graph.text(), to):
            self._report("graph.pbtxt was different; the old one is kept as graph.pbtxt.bak")

    def _plugin_config(self, model: Path) -> dict[str, object]:
        config: dict[str, object] = {}
        if self.values.kv_cache_precision:
            config["KV_CACHE_PRECISION"] = self.values.kv_cache_precision
        if self.options.ov_cache_dir:
            config["CACHE_DIR"] = self.options.ov_cache_dir
        if "HETERO" in self.options.target_device:
            config["MODEL_DISTRIBUTION_POLICY"] = "PIPELINE_PARALLEL"
        for tuning in find_tunings(model, self.options.target_device):
            if tuning.name not in self.options.plugin_config:
                config[tuning.name] = tuning.value
                self._report(f"plugin_config gets {tuning.name} {tuning.value}: {tuning.reason}")
        return {**config, **self.options.plugin_config}

    def _report(self, text: str) -> None:
        self.progress.step(text)


def _models_path(source: Path, folder: ModelFolder) -> str:
    """The path of the model for graph.pbtxt: relative, if both can be moved together."""
    if source == folder.path:
        return "./"
    if source.is_relative_to(folder.repository.resolve()):
        return Path(os.path.relpath(source, folder.path)).as_posix()
    return source.as_posix()


def _pipeline_type(text: str) -> str:
    possible = ", ".join(PIPELINE_TYPES)
    if text in {"VLM", "VLM_CB"}:
        raise argparse.ArgumentTypeError(f"{text} is not supported yet; possible: {possible}")
    if text not in PIPELINE_TYPES:
        raise argparse.ArgumentTypeError(f"unknown: {text!r}; possible: {possible}")
    return text
