"""openvino-genai's pipeline for speech generation, as this server uses it."""

import json
import logging
from collections.abc import Mapping
from math import prod
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from calculators.media.audio_encoding import encode_audio
from calculators.media.model_folder import check_model_folder, open_pipeline
from calculators.media.text_pieces import split_text
from calculators.media.worker import Serve
from server.errors import InvalidRequestError, ModelLoadError
from server.host.model_files import DECODER_FILE, ENCODER_FILE, TOKENIZER_FILE
from server.host.openvino_errors import error_summary
from server.payloads import SpeechAudio, SpeechRequest

__all__ = ["Speaker", "check_speaker", "load_speaker"]

logger = logging.getLogger(__name__)

PARTS = {
    "speecht5": (
        TOKENIZER_FILE,
        ENCODER_FILE,
        DECODER_FILE,
        "openvino_postnet.xml",
        "openvino_vocoder.xml",
    )
}
# Clients that must send a voice can send this one, for the model's own.
DEFAULT_VOICE = "default"
# A folder in the model's, with a file NAME.bin for each voice, as Kokoro's models have it.
VOICES_FOLDER = "voices"


def check_speaker(folder: Path, device: str, voices: Mapping[str, Path]) -> None:
    """Raise ModelLoadError if the folder holds no model, or a voice has no file."""
    check_model_folder(folder, device, (), PARTS)
    if not any(folder.glob("openvino_*.xml")):
        raise ModelLoadError(f"{folder}: no model in it; possible: files openvino_*.xml")
    for name, path in voices.items():
        if not path.is_file():
            problem = "Requested voice speaker embeddings file does not exist"
            raise ModelLoadError(f"voice {name!r}: {problem}: {path}")


def load_speaker(
    folder: Path, device: str, properties: Mapping[str, Any], voices: Mapping[str, Path]
) -> tuple[Serve, Mapping[str, object]]:
    """What the process of a Speaker starts with. Raises ModelLoadError."""
    speaker = Speaker(folder, device, properties, voices)
    return lambda request, cancelled, _: speaker.speak(request, cancelled), {}


class Speaker:
    """A loaded model and its voices; not for several threads at once. Raises ModelLoadError.

    The file of a voice has the numbers of one speaker embedding: little-endian float32, nothing
    else. `voices` are in addition to those in the model's folder, of which unusable ones are left
    out.
    """

    def __init__(
        self, folder: Path, device: str, properties: Mapping[str, Any], voices: Mapping[str, Path]
    ) -> None:
        check_speaker(folder, device, voices)
        import openvino_genai

        self._pipeline: Any = open_pipeline(
            openvino_genai.Text2SpeechPipeline, folder, device, properties
        )
        self._max_characters = _max_characters(folder)
        shape = tuple(self._pipeline.get_speaker_embedding_shape())
        self._voices = {
            **_voices_of_model(folder / VOICES_FOLDER, shape),
            **{name: _read_voice(name, path, shape) for name, path in voices.items()},
        }

    def speak(self, request: SpeechRequest, cancelled: Event) -> SpeechAudio:
        """Speak a text; one that is too long for the model in pieces, one after the other.

        Ends early between two pieces if `cancelled`. Raises InvalidRequestError for a voice that is
        not there, and for a text that the model cannot speak.
        """
        voice = self._voice(request.voice)
        settings: dict[str, Any] = {"speed": request.speed}
        if request.language is not None:
            settings["language"] = request.language
        samples, rate = [], 0
        for piece in self._pieces(request.text):
            if cancelled.is_set():
                return SpeechAudio(b"", request.audio_format)
            results = self._generate(piece, voice, settings)
            samples.append(np.array(results.speeches[0].data, dtype=np.float32).ravel())
            rate = results.output_sample_rate
        content = encode_audio(np.concatenate(samples), rate, request.audio_format)
        return SpeechAudio(content, request.audio_format)

    def _pieces(self, text: str) -> list[str]:
        most = self._max_characters
        # A text that fits is left as it is, blanks included.
        return [text] if most is None or len(text) <= most else split_text(text, most) or [text]

    def _generate(self, text: str, voice: Any, settings: Mapping[str, Any]) -> Any:
        try:
            return self._pipeline.generate(text, voice, **settings)
        except RuntimeError as error:
            reason = error_summary(error)
            logger.warning("Speech failed: %s", reason)
            raise InvalidRequestError(
                f"the model cannot speak this text of {len(text)} characters; it may be "
                f"too long: {reason}",
                "input",
            ) from error

    def _voice(self, name: str | None) -> Any:
        if name in self._voices:
            return self._voices[name]
        if name is None or name == DEFAULT_VOICE:
            return None
        possible = ", ".join((*self._voices, DEFAULT_VOICE))
        raise InvalidRequestError(
            f"Requested voice {name[:100]!r} not found in available voices: {possible}", "voice"
        )


def _max_characters(folder: Path) -> int | None:
    """The longest text of a model whose tokens are characters; None where no file says it."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        positions = config.get("max_text_positions")
    except (OSError, ValueError, AttributeError):
        return None
    # Two positions are for what the tokenizer adds.
    return positions - 2 if isinstance(positions, int) and positions > 2 else None


def _voices_of_model(folder: Path, shape: tuple[int, ...]) -> Mapping[str, Any]:
    voices = {}
    for path in sorted(folder.glob("*.bin")):
        try:
            voices[path.stem] = _read_voice(path.stem, path, shape)
        except (ModelLoadError, OSError) as error:
            logger.warning("Left out a voice of the model: %s", error)
    return voices


def _read_voice(name: str, path: Path, shape: tuple[int, ...]) -> Any:
    import openvino

    data = path.read_bytes()
    if len(data) != 4 * prod(shape):
        raise ModelLoadError(
            f"voice {name!r}: {path} has {len(data)} bytes; the model takes {prod(shape)} numbers "
            "of 4 bytes (float32)"
        )
    return openvino.Tensor(np.frombuffer(data, dtype="<f4").reshape(shape).copy())
