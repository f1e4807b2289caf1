"""The steps that every export has, and what a task adds to them."""

import argparse
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from export_models.arguments import CommonOptions
from export_models.conversion.converter import Converter, require_package
from export_models.model_files import find_missing_part
from export_models.model_repository import ModelFolder, check_model_name
from export_models.progress import Progress
from export_models.quantization.data_aware import check_data_flags
from export_models.quantization.weight_formats import resolve_weight_format
from export_models.source import Source, SourceKind, find_source
from export_models.staging import Staging
from export_models.verification.verify_model import find_refusal
from server.errors import ExportError
from server.models.config_file import ConfigFile
from server.models.tasks import Task, find_source_task

__all__ = ["Export"]

EXPORT_EXTRA = "'.[export]'"


class Export(ABC):
    """One run: source -> model folder -> graph.pbtxt -> config.json, cheap checks first.

    `task` is what the model is for, `sources` are the tasks whose Hugging Face models it takes.
    `options` are the flags of all tasks, `values` those of this one.
    """

    task: ClassVar[Task]
    sources: ClassVar[frozenset[str]]

    def __init__(
        self, options: CommonOptions, values: argparse.Namespace, progress: Progress | None = None
    ) -> None:
        self.options = options
        self.values = values
        self.progress = progress or Progress()

    def run(self) -> None:
        """Export the model. Raises ExportError or ConfigError."""
        source = find_source(self.options.source_model)
        self.check_source(source)
        name = source.model_name if self.options.model_name is None else self.options.model_name
        check_model_name(name)
        folder = ModelFolder(self.options.model_repository_path, name)
        config = None if self.options.no_config_file else ConfigFile(self.options.config_file_path)
        if config is not None:
            config.check()
        if source.kind is SourceKind.OPENVINO_FOLDER:
            self._use_in_place(source, folder)
        elif self._is_exported(source, folder):
            self.report(f"{folder.path} exists already; --overwrite_models converts it again")
            self._write_graph(folder, "./", folder.path)
        else:
            self._convert(source, folder)
        if not self.options.no_verify:
            is_in_place = source.kind is SourceKind.OPENVINO_FOLDER
            self.verify((source.folder if is_in_place else None) or folder.path, source)
        self._list(name, folder, config)

    @abstractmethod
    def model_files(self, folder: Path) -> Sequence[str]:
        """The .xml files of a complete model of this task, relative to its folder."""

    @abstractmethod
    def convert(self, converter: Converter, source: Source, staging: Staging) -> None:
        """Fill `staging.model_folder` from a Hugging Face model. Raises ExportError."""

    @abstractmethod
    def graph_text(self, models_path: str, model: Path) -> str:
        """The graph.pbtxt for the model in the folder `model`, which it calls `models_path`."""

    def check_source(self, source: Source) -> None:
        """Raise ExportError for a source that this export cannot take."""
        if source.kind is not SourceKind.CHECKPOINT_FOLDER or source.folder is None:
            return
        found = find_source_task(source.folder)
        if found.name not in self.sources:
            raise ExportError(
                f"{source.text}: is a model for {found.name}; export it with: "
                f"export_model {found.export} --source_model {source.text}"
            )

    def verify(self, folder: Path, source: Source) -> None:
        """Compare the model with its source. Raises ExportError where answers differ."""
        self.report(f"a model for {self.task.name} is not compared with its source")

    def finish(self, folder: Path) -> None:
        """Make the folder of graph.pbtxt; a task adds the files that its graph names."""
        folder.mkdir(parents=True, exist_ok=True)

    def next_steps(self, folder: Path) -> Sequence[str]:
        """What the user can do now, besides serving the model."""
        return ()

    def report(self, text: str) -> None:
        """Print a line."""
        self.progress.step(text)

    @property
    def weight_format(self) -> str:
        """How weights are to be stored."""
        options = self.options
        return resolve_weight_format(
            options.weight_format, options.target_device, options.extra_quantization_params
        )

    def plugin_config(self, **chosen: object) -> dict[str, object]:
        """The OpenVINO properties for graph.pbtxt; those of the command line win."""
        if self.options.ov_cache_dir:
            chosen["CACHE_DIR"] = self.options.ov_cache_dir
        return {**chosen, **self.options.plugin_config}

    def _use_in_place(self, source: Source, folder: ModelFolder) -> None:
        assert source.folder is not None
        problem = find_missing_part(source.folder, self.model_files(source.folder))
        if problem and "tokenizer" in problem:
            problem += (
                "; a tokenizer is made by: convert_tokenizer "
                f"<its Hugging Face model> --with-detokenizer -o {source.folder}"
            )
        if problem:
            raise ExportError(f"{source.folder}: {problem}")
        self.report(f"{source.folder} is an OpenVINO model already and is used where it is")
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
        problem = find_missing_part(folder.path, self.model_files(folder.path))
        if problem and folder.has_model():
            self.report(f"{folder.path} is not complete and is exported again: {problem}")
        return not problem

    def make_converter(self) -> Converter:
        """What converts models. Raises ExportError where its packages are missing."""
        require_package("optimum", "optimum-intel", EXPORT_EXTRA)
        check_data_flags(self.options.extra_quantization_params)
        return Converter(
            self.progress,
            self.options.extra_quantization_params,
            self.options.trust_remote_code,
            self.options.verbose,
        )

    def _convert(self, source: Source, folder: ModelFolder) -> None:
        converter = self.make_converter()
        with folder.stage() as staging:
            model = staging.model_folder
            if source.kind is SourceKind.OPENVINO_HUB:
                converter.download(source, staging)
            else:
                self.convert(converter, source, staging)
            problem = find_missing_part(model, self.model_files(model))
            if problem:
                raise ExportError(f"{source.text}: the result is no complete model: {problem}")
            self._write_graph(folder, "./", model, model)
            staging.commit()

    def _write_graph(
        self, folder: ModelFolder, models_path: str, model: Path, to: Path | None = None
    ) -> None:
        self.finish(to or folder.path)
        if folder.write_graph(self.graph_text(models_path, model), to):
            self.report("graph.pbtxt was different; the old one is kept as graph.pbtxt.bak")

    def _list(self, name: str, folder: ModelFolder, config: ConfigFile | None) -> None:
        if config is None:
            self.report(f"{name!r} is in {folder.path}")
            return
        config.add(name, folder.path)
        self.report(f"{name!r} is in {folder.path} and listed in {self.options.config_file_path}")
        refusal = find_refusal(name, folder.path)
        if refusal is not None:
            print(f"warning: the server refuses it: {refusal}")
            return
        print(f"serve it: server --config_path {self.options.config_file_path}")
        for line in self.next_steps(folder.path):
            print(line)


def _models_path(source: Path, folder: ModelFolder) -> str:
    """The path of the model for graph.pbtxt: relative, if both can be moved together."""
    if source == folder.path:
        return "./"
    if source.is_relative_to(folder.repository.resolve()):
        return Path(os.path.relpath(source, folder.path)).as_posix()
    return source.as_posix()
