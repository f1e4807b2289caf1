"""Text to recordings, without a server."""

from server.errors import InvalidRequestError
from server.llm.graph_source import GraphKind
from server.llm.loaded_model import LoadedModel
from server.models.tasks import TEXT_TO_SPEECH
from server.payloads import AUDIO_FORMATS, AudioFormat, SpeechAudio, SpeechRequest

__all__ = ["VoiceModel"]


class VoiceModel(LoadedModel):
    """A model that speaks texts; see LoadedModel for its arguments.

    Calls of several threads wait for each other.
    """

    kind = GraphKind("voice model", TEXT_TO_SPEECH, SpeechRequest, SpeechAudio)

    def speak(
        self,
        text: str,
        *,
        voice: str | None = None,
        language: str | None = None,
        speed: float = 1.0,
        audio_format: AudioFormat = "wav",
    ) -> bytes:
        """Speak a text; returns the content of an audio file.

        `voice` is one that the graph names, None the model's own. Raises InvalidRequestError.
        """
        if audio_format not in AUDIO_FORMATS:
            problem = f"audio_format is {audio_format!r}; possible: {', '.join(AUDIO_FORMATS)}"
            raise InvalidRequestError(problem, "audio_format")
        request = SpeechRequest(text, voice, language, speed, audio_format)
        audio: SpeechAudio = self._run_one(request)
        return audio.content
