"""--quant_mode: collects texts, then quantises the weights and activations of a converted model."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from export_models.conversion.converter import Converter
from export_models.quantization.calibration_file import CalibrationSample
from export_models.quantization.quantization_flags import QuantizationFlags
from export_models.source import Source
from export_models.staging import Staging

__all__ = ["FullQuantizer"]

ROOM = "export_models.quantization"
ENGINE_SIDE = "server.engine.sample_answers"


@dataclass(frozen=True)
class FullQuantizer:
    """Works on the model in `staging`. Each part runs as its own process, so that memory is free
    again for the next one."""

    converter: Converter
    source: Source
    staging: Staging
    flags: QuantizationFlags

    def run(self, samples: Sequence[CalibrationSample]) -> None:
        """Measure activations on `samples`, or without them on the model's own answers.

        Raises ExportError.
        """
        origin = "the calibration file" if samples else "the model's own generations"
        self.converter.progress.step(
            f"quantizing weights and activations to int8, measured on {origin}"
        )
        model = str(self.staging.model_folder)
        tokens = str(self.staging.temporary_folder / "tokens.json")
        self._run(f"{ROOM}.calibration_tokens", model, tokens, *self._texts(samples))
        if not samples:
            self._run(ENGINE_SIDE, model, tokens)
        flags = ["--smooth-quant-alpha", str(self.flags.smooth_quant_alpha)]
        flags += ["--sym"] if self.flags.sym else []
        self._run(f"{ROOM}.full_quantization", model, tokens, *flags)

    def _texts(self, samples: Sequence[CalibrationSample]) -> list[str]:
        flags = ["--trust-remote-code"] if self.converter.trust_remote_code else []
        if self.flags.num_samples is not None:
            flags += ["--num-samples", str(self.flags.num_samples)]
        if samples:
            path = self.staging.temporary_folder / "samples.json"
            path.write_text(json.dumps([asdict(sample) for sample in samples]))
            flags += ["--samples", str(path)]
        return flags

    def _run(self, module: str, *arguments: str) -> None:
        self.converter.run(["-m", module, *arguments], self.source, self.staging)
