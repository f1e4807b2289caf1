"""Compares an exported model with its source, and with its PagedAttention form."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from export_models.conversion.tool import ToolResult, run_tool
from export_models.progress import Progress
from export_models.source import Source, SourceKind
from server.errors import ExportError
from server.host.model_files import RECORD_FILE

__all__ = ["ModelVerifier", "find_refusal"]

ENGINE_SIDE = "server.engine.verification"
SOURCE_SIDE = "export_models.verification.ask_source"


@dataclass(frozen=True)
class ModelVerifier:
    """Verifies exported models. Each part runs as its own process: a crash ends nothing else."""

    progress: Progress
    trust_remote_code: bool = False

    def verify(self, folder: Path, source: Source) -> None:
        """Verify a model and report what is compared. Raises ExportError where answers differ."""
        has_source = source.kind in (SourceKind.CHECKPOINT_FOLDER, SourceKind.CHECKPOINT_HUB)
        with tempfile.TemporaryDirectory(prefix="export_model-") as name:
            exchange = Path(name)
            if not has_source:
                _write_note(exchange, "the source is an OpenVINO model already")
            elif not (folder / RECORD_FILE).exists():
                self._ask_source(folder, source, exchange)
            result = self._run([ENGINE_SIDE, str(folder), name], {})
        if result.return_code == 0:
            return
        lines = [line for line in result.log.splitlines() if line.startswith(str(folder))]
        reason = lines[-1] if lines else f"{folder}: the verification failed"
        raise ExportError(
            f"{reason} {_first_difference(result)}(all of it is in {result.log_path}); the model "
            "is not listed; --no_verify lists it all the same"
        )

    def _ask_source(self, folder: Path, source: Source, exchange: Path) -> None:
        prepared = self._run([ENGINE_SIDE, str(folder), str(exchange), "--prompts"], {})
        if prepared.return_code != 0:
            return  # What verifies the model says why.
        command = [SOURCE_SIDE, source.location, str(folder), str(exchange)]
        command += ["--trust-remote-code"] if self.trust_remote_code else []
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if source.folder else {}
        result = self._run(command, offline)
        if result.return_code == 0:
            return
        how = f"exit code {result.return_code}"
        if result.return_code < 0:
            how = f"signal {-result.return_code}, perhaps for want of memory"
        _write_note(exchange, f"the process with torch ended with {how}; see {result.log_path}")

    def _run(self, command: list[str], environment: dict[str, str]) -> ToolResult:
        return run_tool(["-m", *command], environment, self._report)

    def _report(self, output: str) -> None:
        for line in output.splitlines():
            self.progress.step(line)
        self.progress.heartbeat("verifying the model", 1.0)


def find_refusal(name: str, folder: Path) -> str | None:
    """Why the server would not load what lies in a folder with its graph; None if it would."""
    command = ["-m", "server", "--check", "--model_name", name, "--model_path", str(folder)]
    result = run_tool(command, {}, lambda _: None)
    if result.return_code == 0:
        return None
    _, start, rest = result.log.partition(f"\n{name}: ")
    if not result.log.startswith(f"{name}: ") and not start:
        return f"see {result.log_path}"
    result.log_path.unlink(missing_ok=True)
    # What is wrong with a graph has several lines; the last one counts the models.
    reason = f"{name}: {rest}" if start else result.log
    return " ".join(line.strip() for line in reason.splitlines()[:-1])


def _write_note(exchange: Path, reason: str) -> None:
    note = f"not compared with the source model: {reason}"
    (exchange / "source.json").write_text(json.dumps({"notes": [note]}))


def _first_difference(result: ToolResult) -> str:
    lines = [line.strip() for line in result.log.splitlines() if line.startswith("  ")]
    return f"{lines[0]} " if lines else ""
