"""openvino-genai's pipeline for speech recognition, as this server uses it."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from calculators.media.audio_decoding import decode_audio
from calculators.media.model_folder import check_model_folder, open_pipeline
from calculators.media.worker import Serve
from server.errors import InvalidRequestError
from server.host.model_files import (
    DECODER_FILE,
    DETOKENIZER_FILE,
    ENCODER_FILE,
    TOKENIZER_FILE,
)
from server.host.openvino_errors import error_summary
from server.payloads import (
    Transcript,
    TranscriptionRequest,
    TranscriptSegment,
    TranscriptWord,
)

__all__ = ["Transcriber", "check_transcriber", "load_transcriber"]

logger = logging.getLogger(__name__)

RATE = 16_000
FILES = (TOKENIZER_FILE, DETOKENIZER_FILE)
PARTS = {"whisper": (ENCODER_FILE, DECODER_FILE)}


def check_transcriber(folder: Path, device: str) -> None:
    """Raise ModelLoadError if the folder holds no model that a Transcriber could load."""
    check_model_folder(folder, device, FILES, PARTS)


def load_transcriber(
    folder: Path, device: str, properties: Mapping[str, Any], *, with_words: bool
) -> tuple[Serve, Mapping[str, object]]:
    """What the process of a Transcriber starts with. Raises ModelLoadError."""
    return Transcriber(folder, device, properties, with_words=with_words).transcribe, {}


class Transcriber:
    """A loaded model; not for several threads at once. Raises ModelLoadError.

    `with_words` loads it such that words can have times, which makes it slower.
    """

    def __init__(
        self, folder: Path, device: str, properties: Mapping[str, Any], *, with_words: bool
    ) -> None:
        check_transcriber(folder, device)
        import openvino_genai

        self._status = openvino_genai.StreamingStatus
        self._pipeline: Any = open_pipeline(
            openvino_genai.ASRPipeline,
            folder,
            device,
            {**properties, "word_timestamps": with_words},
        )
        config = self._pipeline.get_generation_config()
        self._languages = frozenset(name.strip("<|>") for name in config.lang_to_id)
        self._is_multilingual = config.is_multilingual
        # Whisper's own: half of the context is for the transcript.
        self._max_prompt_tokens = config.max_length // 2 - 1

    def transcribe(
        self,
        request: TranscriptionRequest,
        cancelled: Event,
        on_text: Callable[[str], None] | None = None,
    ) -> Transcript:
        """Transcribe a file; `on_text` gets the text piece by piece if `request.stream`.

        A transcript that is cancelled ends early. Raises InvalidRequestError for audio or a field
        that the model cannot take.
        """
        settings = self._settings(request)
        samples = decode_audio(request.audio, RATE, cancelled.is_set)
        duration_s = len(samples) / RATE

        def on_piece(text: str) -> Any:
            if cancelled.is_set():
                return self._status.CANCEL
            if on_text is not None and request.stream:
                on_text(text)
            return self._status.RUNNING

        if cancelled.is_set():
            return Transcript("", duration_s)
        try:
            results = self._pipeline.generate(samples, streamer=on_piece, **settings)
        except RuntimeError as error:
            # The model is loaded and the audio decoded: it is the request that does not fit.
            reason = error_summary(error)
            logger.warning("A transcription failed: %s", reason)
            raise InvalidRequestError(f"the model cannot serve this request: {reason}") from error
        return _transcript(results, duration_s)

    def _settings(self, request: TranscriptionRequest) -> dict[str, Any]:
        """The request as fields of openvino-genai's generation config."""
        settings: dict[str, Any] = {
            "return_timestamps": request.with_segments,
            "word_timestamps": request.with_words,
        }
        if request.temperature > 0:
            settings |= {"do_sample": True, "temperature": request.temperature}
        if request.prompt:
            settings["initial_prompt"] = self._prompt(request.prompt)
        if request.language is not None:
            settings |= self._language(request.language)
        if self._languages:
            settings["task"] = "translate" if request.translates else "transcribe"
        elif request.translates:
            raise InvalidRequestError("this model cannot translate; it is not multilingual")
        return settings

    def _prompt(self, text: str) -> str:
        """The end of a prompt that is too long, as OpenAI's models read no more."""
        tokenizer = self._pipeline.get_tokenizer()
        tokens = tokenizer.encode(text, add_special_tokens=False).input_ids.data[0]
        if len(tokens) <= self._max_prompt_tokens:
            return text
        kept: str = tokenizer.decode(tokens[-self._max_prompt_tokens :].tolist())
        # The cut may go through a character.
        return kept.lstrip("\ufffd")

    def _language(self, language: str) -> dict[str, str]:
        if self._languages and language not in self._languages:
            possible = ", ".join(sorted(self._languages))
            raise InvalidRequestError(
                f"Invalid language code. This model does not know {language!r}; "
                f"possible: {possible}",
                "language",
            )
        if self._languages:
            return {"language": f"<|{language}|>"}
        if self._is_multilingual:
            # Models other than Whisper.
            return {"language": language}
        if language != "en":
            raise InvalidRequestError(
                "Invalid language code. This model knows only English (en)", "language"
            )
        return {}


def _transcript(results: Any, duration_s: float) -> Transcript:
    segments = results.chunks[0] if results.chunks else ()
    words = results.words[0] if results.words else ()
    return Transcript(
        text=results.texts[0],
        duration_s=duration_s,
        language=results.languages[0] if results.languages else None,
        segments=tuple(TranscriptSegment(s.text, s.start_ts, s.end_ts) for s in segments),
        words=tuple(TranscriptWord(w.text, w.start_ts, w.end_ts) for w in words),
    )
