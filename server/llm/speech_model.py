"""Recordings to text, without a server."""

from pathlib import Path

from server.llm.graph_source import GraphKind
from server.llm.loaded_model import LoadedModel
from server.models.tasks import SPEECH_TO_TEXT
from server.payloads import Transcript, TranscriptChunk, TranscriptionRequest

__all__ = ["SpeechModel"]

Audio = bytes | str | Path
"""The content of an audio file, or its path."""


class SpeechModel(LoadedModel):
    """A model that writes down what is said; see LoadedModel for its arguments.

    Calls of several threads wait for each other.
    """

    kind = GraphKind("speech model", SPEECH_TO_TEXT, TranscriptionRequest, TranscriptChunk)

    def transcribe(
        self,
        audio: Audio,
        *,
        language: str | None = None,
        prompt: str = "",
        temperature: float = 0.0,
        segments: bool = False,
        words: bool = False,
    ) -> Transcript:
        """Write down a recording.

        `language` is a code such as "en"; without it the model finds it out. `segments` and `words`
        add times; words need a graph with enable_word_timestamps. Raises InvalidRequestError for
        what is no audio, and OSError for a path that cannot be read.
        """
        return self._transcript(
            TranscriptionRequest(
                audio=_content(audio),
                language=language,
                prompt=prompt,
                temperature=temperature,
                with_segments=segments,
                with_words=words,
            )
        )

    def translate(
        self, audio: Audio, *, prompt: str = "", temperature: float = 0.0, segments: bool = False
    ) -> Transcript:
        """Translate a recording into English text; raises what `transcribe` raises."""
        return self._transcript(
            TranscriptionRequest(
                audio=_content(audio),
                translates=True,
                prompt=prompt,
                temperature=temperature,
                with_segments=segments,
            )
        )

    def _transcript(self, request: TranscriptionRequest) -> Transcript:
        chunk: TranscriptChunk = self._run_one(request)
        assert chunk.transcript is not None
        return chunk.transcript


def _content(audio: Audio) -> bytes:
    return audio if isinstance(audio, bytes) else Path(audio).read_bytes()
