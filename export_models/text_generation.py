"""The task text_generation: export a language model for chat and completions."""

import argparse
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from calculators.output_parsers import NO_PARSER, find_parser_problems, parser_names
from export_models.arguments import UnsupportedFlag, add_common_flags, common_options
from export_models.conversion.converter import Converter, carry_files
from export_models.draft_source import (
    DraftSource,
    add_draft_flags,
    check_draft_flags,
    find_draft_source,
)
from export_models.export_run import Export
from export_models.graph_text import TextGenerationGraph
from export_models.model_files import find_missing_part
from export_models.quantization.calibration_file import CalibrationSample, read_calibration_file
from export_models.quantization.full_quantizer import FullQuantizer
from export_models.quantization.quantization_flags import QuantizationFlags
from export_models.quantization.weight_formats import weight_flags
from export_models.source import Source
from export_models.staging import Staging, stage
from export_models.verification.verify_model import ModelVerifier
from server.errors import ExportError
from server.host.model_files import DETOKENIZER_FILE, MODEL_FILE, TOKENIZER_FILE, model_files
from server.models.tasks import TEXT_GENERATION
from server.terminal.export_help import EXPORT_HELP
from server.terminal.flag_parser import FlagParser, Switch, boolean
from server.terminal.flag_values import at_least

__all__ = ["add_flags", "run"]

TASK = "text-generation-with-past"
ENCODER_DECODER_TASK = "text2text-generation-with-past"
HALF_PRECISION = Path(__file__).with_name("quantization") / "half_precision.py"
# Full quantization starts from fp16: more digits would only take disk space.
FORMAT_TO_QUANTIZE = "fp16"
# Files of a checkpoint that the server reads unchanged.
CARRIED_FILES = (
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tokenizer_config.json",
)
DRAFT_FILES = (MODEL_FILE, TOKENIZER_FILE, DETOKENIZER_FILE)
PIPELINE_TYPES = ("LM", "LM_CB", "AUTO")
QUANT_MODES = ("int8",)
MAX_SAMPLES = 128
UNSUPPORTED_FLAGS = {
    "--draft_eagle3_mode": "a draft model with the same tokenizer is, with --draft_source_model",
    "--max_prompt_len": "it is for NPU only",
}


def add_flags(parser: FlagParser) -> None:
    """Add the flags of this task."""
    add_common_flags(parser)
    _add_precision_flags(parser)
    _add_engine_flags(parser)
    add_draft_flags(parser)
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
    check_draft_flags(parser, values)
    _Export(common_options(parser, values), values).run()


def _check_quant_mode(parser: FlagParser, values: argparse.Namespace) -> None:
    if values.quant_mode and values.weight_format:
        parser.error("--quant_mode and --weight-format: only one of them is possible")
    if values.calibration_file and not values.quant_mode:
        parser.error("--calibration_file: is for --quant_mode, which is not given")
    if values.quant_mode:
        try:
            QuantizationFlags.parse(values.extra_quantization_params)
        except ExportError as error:
            parser.error(str(error))


class _Export(Export):
    task = TEXT_GENERATION
    # The converter says whether an encoder or a classifier generates text.
    sources = frozenset({"text_generation", "embeddings", "rerank"})

    @cached_property
    def draft(self) -> DraftSource | None:
        """The draft model. Raises ExportError for one that is no model."""
        return find_draft_source(self.values)

    def model_files(self, folder: Path) -> Sequence[str]:
        return (*model_files(folder), TOKENIZER_FILE, DETOKENIZER_FILE)

    def check_source(self, source: Source) -> None:
        super().check_source(source)
        if self.draft is not None:
            super().check_source(self.draft.source)
        if self.values.quant_mode and source.is_openvino:
            raise ExportError(
                f"{source.text}: is an OpenVINO model already; --quant_mode needs the Hugging Face "
                "model that it was made of"
            )

    def convert(self, converter: Converter, source: Source, staging: Staging) -> None:
        has_encoder = bool(converter.read_config(source, staging).get("is_encoder_decoder"))
        quant_mode, calibration_file = self.values.quant_mode, self.values.calibration_file
        if has_encoder and quant_mode:
            raise ExportError(
                f"{source.text}: is an encoder-decoder model, which --quant_mode cannot quantize; "
                "use --weight-format int8"
            )
        calibration: Sequence[CalibrationSample] = ()
        if calibration_file:
            calibration = read_calibration_file(calibration_file, MAX_SAMPLES)
        weight_format = FORMAT_TO_QUANTIZE if quant_mode else self.weight_format
        extra = () if quant_mode else converter.extra_params
        task = ENCODER_DECODER_TASK if has_encoder else TASK
        self._convert_plain(converter, source, staging, task, [weight_format, *extra])
        if quant_mode:
            flags = QuantizationFlags.parse(converter.extra_params)
            FullQuantizer(converter, source, staging, flags).run(calibration)

    def _convert_plain(
        self,
        converter: Converter,
        source: Source,
        staging: Staging,
        task: str,
        form: Sequence[str],
    ) -> None:
        """Convert model and tokenizer; `form` is a weight format and more flags."""
        weight_format, *extra = form
        self.report(f"converting {source.text} to OpenVINO, {weight_format} weights")
        flags = [*weight_flags(weight_format), *extra]
        converter.convert_model(source, staging, task, flags)
        if weight_format == "fp16":
            converter.run([str(HALF_PRECISION), str(staging.model_folder)], source, staging)
        if not (staging.model_folder / DETOKENIZER_FILE).exists():
            converter.convert_tokenizer(source, staging)
        if source.folder:
            carry_files(source.folder, staging.model_folder, CARRIED_FILES)

    def finish(self, folder: Path) -> None:
        super().finish(folder)
        if self.draft is not None and not self.draft.is_in_place:
            self._export_draft(self.draft, folder / self.draft.folder_name)

    def _export_draft(self, draft: DraftSource, folder: Path) -> None:
        if not self.options.overwrite_models and not find_missing_part(folder, DRAFT_FILES):
            self.report(f"{folder} exists already; --overwrite_models converts it again")
            return
        converter = self.make_converter()
        with stage(folder) as staging:
            if draft.source.is_openvino:
                converter.download(draft.source, staging)
            else:
                form = [self.weight_format, *converter.extra_params]
                self._convert_plain(converter, draft.source, staging, TASK, form)
            problem = find_missing_part(staging.model_folder, DRAFT_FILES)
            if problem:
                raise ExportError(
                    f"{draft.source.text}: the result is no complete model: {problem}"
                )
            staging.commit()

    def verify(self, folder: Path, source: Source) -> None:
        ModelVerifier(self.progress, self.options.trust_remote_code).verify(folder, source)

    def next_steps(self, folder: Path) -> Sequence[str]:
        return (f"chat with it: server chat {folder}",)

    def graph_text(self, models_path: str, model: Path) -> str:
        values = self.values
        graph = TextGenerationGraph(
            models_path=models_path,
            plugin_config=self._properties(),
            enable_prefix_caching=values.enable_prefix_caching,
            cache_size=values.cache_size,
            cache_interval_multiplier=values.cache_interval_multiplier,
            max_num_seqs=values.max_num_seqs,
            max_num_batched_tokens=values.max_num_batched_tokens,
            dynamic_split_fuse=False if values.disable_dynamic_split_fuse else None,
            pipeline_type=values.pipeline_type,
            device=self.options.target_device,
            **self._draft_options(),
            tool_parser=values.tool_parser,
            reasoning_parser=values.reasoning_parser,
            enable_tool_guided_generation=values.enable_tool_guided_generation or None,
        )
        return graph.text()

    def _draft_options(self) -> dict[str, Any]:
        if self.draft is None:
            return {}
        return {
            "draft_models_path": self.draft.models_path,
            "draft_device": self.options.target_device,
            "draft_eagle3_mode": False,
        }

    def _properties(self) -> dict[str, object]:
        chosen: dict[str, object] = {}
        if self.values.prompt_lookup_decoding:
            chosen["prompt_lookup"] = True
        if self.values.kv_cache_precision:
            chosen["KV_CACHE_PRECISION"] = self.values.kv_cache_precision
        if "HETERO" in self.options.target_device:
            chosen["MODEL_DISTRIBUTION_POLICY"] = "PIPELINE_PARALLEL"
        return self.plugin_config(**chosen)


def _pipeline_type(text: str) -> str:
    possible = ", ".join(PIPELINE_TYPES)
    if text in {"VLM", "VLM_CB"}:
        raise argparse.ArgumentTypeError(f"{text} is not supported yet; possible: {possible}")
    if text not in PIPELINE_TYPES:
        raise argparse.ArgumentTypeError(f"unknown: {text!r}; possible: {possible}")
    return text
