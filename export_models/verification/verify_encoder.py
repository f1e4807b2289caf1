"""Compares the answers of an exported text encoder with those of its source."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from export_models.conversion.tool import run_tool
from export_models.progress import Progress
from export_models.source import Source, SourceKind
from export_models.weight_precision import weight_precision
from server.errors import ExportError
from server.host.model_files import MODEL_FILE

__all__ = ["EncoderVerifier"]

SOURCE_SIDE = "export_models.verification.ask_encoder"
# The smallest cosine of vectors, and the largest difference of scores from 0 to 1, by how many bits
# the weights have. Compression changes answers; an export gone wrong changes them far more.
LIMITS = {32: (0.9999, 1e-3), 16: (0.999, 1e-2), 8: (0.97, 0.1), 4: (0.85, 0.25)}
MAX_WRONG_TEXTS = 0.5


@dataclass(frozen=True)
class EncoderVerifier:
    """Runs the source in torch beside the export, in a process of its own."""

    progress: Progress
    trust_remote_code: bool = False

    def verify(self, folder: Path, source: Source, task: str) -> None:
        """Report what is compared. Raises ExportError where answers differ."""
        if source.kind not in (SourceKind.CHECKPOINT_FOLDER, SourceKind.CHECKPOINT_HUB):
            self.progress.step("not compared with a source: it is an OpenVINO model already")
            return
        with tempfile.TemporaryDirectory(prefix="export_model-") as name:
            answer = Path(name) / "answer.json"
            command = ["-m", SOURCE_SIDE, source.location, str(folder), task, str(answer)]
            command += ["--trust-remote-code"] if self.trust_remote_code else []
            offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if source.folder else {}
            result = run_tool(command, offline, self._report)
            self.progress.end()
            if result.return_code != 0 or not answer.is_file():
                self.progress.step(
                    "not compared with the source model: the process with torch ended with exit "
                    f"code {result.return_code}; see {result.log_path}"
                )
                return
            self._judge(folder, json.loads(answer.read_text()))

    def _judge(self, folder: Path, found: dict[str, object]) -> None:
        note = found.get("note")
        if note is not None:
            self.progress.step(f"not compared with the source model: {note}")
            return
        bits = weight_precision(folder / MODEL_FILE)
        min_cosine, max_difference = LIMITS[bits]
        cosine, difference = found.get("cosine"), found.get("difference")
        wrong = found["wrong_texts"]
        assert isinstance(wrong, list)
        if isinstance(cosine, float):
            self._expect(folder, cosine >= min_cosine, f"the cosine of vectors is {cosine:.6f}")
        if isinstance(difference, float):
            text = f"scores differ by at most {difference:.6f}"
            self._expect(folder, difference <= max_difference, text)
        for text in wrong[:3]:
            print(f"warning: the tokenizer is not quite that of the source: {text}", flush=True)
        num_texts = found["num_texts"]
        assert isinstance(num_texts, int)
        if len(wrong) > MAX_WRONG_TEXTS * num_texts:
            raise self._error(folder, f"{len(wrong)} of {num_texts} texts give other tokens")

    def _expect(self, folder: Path, is_right: bool, text: str) -> None:
        if not is_right:
            raise self._error(folder, text)
        self.progress.step(f"compared with its source in torch: {text}")

    def _error(self, folder: Path, reason: str) -> ExportError:
        return ExportError(
            f"{folder}: its answers are not those of the source: {reason}; the model is not "
            "listed; --no_verify lists it all the same"
        )

    def _report(self, output: str) -> None:
        for line in output.splitlines():
            if line.startswith("warning: "):
                self.progress.step(line)
        self.progress.heartbeat("comparing with the source model", 1.0)
