"""Runs the tools that convert Hugging Face checkpoints to OpenVINO folders.

optimum-intel takes seconds to import and may take most of the memory: it runs as a process of its
own, is started only when there is something to convert, and its failures become one line.
"""

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export_models.conversion.failures import explain_failure, find_random_weights
from export_models.conversion.progress_bars import BAR_ENVIRONMENT, find_bars
from export_models.conversion.tool import run_tool
from export_models.progress import Progress
from export_models.quantization.data_aware import needs_download
from export_models.source import Source, read_config
from export_models.staging import Staging
from server.errors import ExportError

__all__ = ["Converter", "carry_files", "require_package"]

HUB_TOOL = ("-m", "huggingface_hub.cli.hf", "download")
OPTIMUM = ("-m", "export_models.conversion.more_architectures", "export", "openvino")
TOKENIZER_TOOL = ("-m", "export_models.tokenizer.conversion")
# What the converter prints as it goes, what that means, and roughly how much is done then.
MILESTONES = {
    "Loading weights": ("reading the weights", 0.1),
    "TracerWarning": ("translating the model", 0.3),
}


def require_package(name: str, what: str, install: str) -> None:
    """Raise ExportError if a Python package is missing; `install` are pip's arguments."""
    if importlib.util.find_spec(name) is None:
        raise ExportError(f"{what} is not installed; it comes with: pip install {install}")


@dataclass(frozen=True)
class Converter:
    """Fills `staging.model_folder` from a source, step by step. Each step raises ExportError.

    `extra_params` go to the tool's command line unchanged. `trust_remote_code` lets Python code
    that comes with the source run here. `needs_hub`: a part comes from the Hub for any source.
    """

    progress: Progress
    extra_params: Sequence[str] = ()
    trust_remote_code: bool = False
    is_verbose: bool = False
    needs_hub: bool = False

    def with_hub(self) -> "Converter":
        """The same, with the Hub also for sources on this machine."""
        return replace(self, needs_hub=True)

    def download(self, source: Source, staging: Staging) -> None:
        """Take the OpenVINO model that the source is already."""
        self.progress.step(f"downloading {source.text}, which is an OpenVINO model already")
        folder = staging.model_folder
        self.run([*HUB_TOOL, source.text, "--local-dir", str(folder)], source, staging)
        shutil.rmtree(folder / ".cache", ignore_errors=True)

    def convert_model(
        self,
        source: Source,
        staging: Staging,
        task: str,
        flags: Sequence[str],
        library: str = "transformers",
        unused: str = "",
    ) -> None:
        """Convert the model for optimum's `task`; `flags` are more of its flags.

        The checkpoint may lack the weights of the module `unused`.
        """
        command = [*OPTIMUM, f"--model={source.location}", "--library", library, "--task", task]
        command += [*flags, *self._remote_code_flag]
        self.run([*command, str(staging.model_folder)], source, staging, unused)

    def convert_tokenizer(
        self, source: Source, staging: Staging, flags: Sequence[str] = ()
    ) -> None:
        """Convert the tokenizer; export_models/tokenizer/conversion.py has the `flags`."""
        self.progress.step("converting the tokenizer")
        command = [*TOKENIZER_TOOL, *self._remote_code_flag, *flags]
        self.run([*command, source.location, str(staging.model_folder)], source, staging)

    def read_config(self, source: Source, staging: Staging) -> Mapping[str, object]:
        """The source's config.json."""
        return read_config(self.fetch(source, staging, ["config.json"]))

    def fetch(self, source: Source, staging: Staging, patterns: Sequence[str]) -> Path:
        """The folder with the source's files; files of these patterns come from the Hub."""
        if source.folder is not None:
            return source.folder
        folder = staging.temporary_folder / "source"
        names = ["--include", *patterns] if any("*" in name for name in patterns) else patterns
        command = [*HUB_TOOL, source.text, *names, "--local-dir", str(folder)]
        self.run(command, source, staging)
        return folder

    def run(
        self, command: Sequence[str], source: Source, staging: Staging, unused: str = ""
    ) -> None:
        """Run `python command...`, which converts the source."""
        try:
            environment = self._environment(source, staging)
            # The download's errors are printed with rich as well, and must stay plain.
            if (*command[: len(HUB_TOOL)],) != HUB_TOOL:
                environment |= BAR_ENVIRONMENT
            result = run_tool(command, environment, _Follower(self))
        finally:
            self.progress.end()
        if result.return_code != 0:
            reason = explain_failure(result, source)
            raise ExportError(f"{reason} (the converter's output is in {result.log_path})")
        if missing := find_random_weights(result.log, unused):
            raise ExportError(
                f"{source.text}: the checkpoint lacks weights that its architecture has, and "
                f"random numbers would take their places: {missing}"
            )

    @property
    def _remote_code_flag(self) -> Sequence[str]:
        return ["--trust-remote-code"] if self.trust_remote_code else []

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
        needs_hub = self.needs_hub or needs_download(self.extra_params)
        if source.folder and not needs_hub:
            environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        return environment


class _Follower:
    """Turns what the converter prints into progress."""

    def __init__(self, converter: Converter) -> None:
        self._progress = converter.progress
        self._is_verbose = converter.is_verbose
        self._waiting_for = dict(MILESTONES)
        self._now, self._fraction = "starting the converter", 0.0
        self._detail = ""

    def __call__(self, output: str) -> None:
        if self._is_verbose and output:
            print(output, end="", file=sys.stderr, flush=True)
        for marker in [marker for marker in self._waiting_for if marker in output]:
            self._now, self._fraction = self._waiting_for.pop(marker)
            self._detail = ""
            self._progress.step(self._now)
        for bar in find_bars(output):
            if bar.step != self._now:
                self._now = bar.step
                self._progress.step(self._now)
            self._fraction, self._detail = bar.fraction, bar.detail
        detail = f": {self._detail}" if self._detail else ""
        self._progress.heartbeat(f"{self._now}{detail}", self._fraction)


def carry_files(source: Path, model: Path, names: Sequence[str]) -> None:
    """Copy the files and folders that the converter left out, as it does with some templates."""
    for name in names:
        target = model / name
        if target.exists():
            continue
        if (source / name).is_dir():
            shutil.copytree(source / name, target)
        elif (source / name).is_file():
            shutil.copyfile(source / name, target)
