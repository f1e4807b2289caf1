"""POST audio/speech: JSON -> a SpeechRequest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from server.errors import InvalidRequestError, describe_value
from server.payloads import AudioFormat, SpeechRequest
from server.protocol.field_rules import FieldRules, Hint, Refused, UnknownFields
from server.protocol.validation import validate_fields

__all__ = ["AUDIO_TYPES", "SPEECH", "SpeechCall", "SpeechFields", "parse_speech"]

# As OpenAI's endpoint.
MAX_CHARACTERS = 4096
AUDIO_TYPES: Mapping[AudioFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}

SPEECH = FieldRules(
    {
        "instructions": Refused("the models take no instructions; see `voice` and `speed`"),
        "stream_format": Refused("streaming is not supported", ("audio",)),
        "user": Hint("names the caller", str),
    }
)


class SpeechFields(BaseModel):
    """A text to speak.

    `voice` is one that the graph names, or "default". The answer is a WAV file unless
    `response_format` says otherwise.
    """

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, json_schema_extra=SPEECH.describe
    )

    model: str
    input: str = Field(max_length=MAX_CHARACTERS)
    voice: str | None = None
    language: str | None = Field(None, max_length=100)
    speed: float = Field(1.0, gt=0, allow_inf_nan=False)
    response_format: AudioFormat = "wav"


@dataclass(frozen=True, slots=True)
class SpeechCall:
    """What a body asks for."""

    model: str
    request: SpeechRequest
    unknown_fields: UnknownFields


def parse_speech(body: Mapping[str, Any]) -> SpeechCall:
    """Parse a request body. Raises InvalidRequestError."""
    # The sentences of Model Server.
    if "input" not in body:
        raise InvalidRequestError("input field is missing in JSON body", "input")
    text = body["input"]
    if not isinstance(text, str):
        problem = f"input field is not a string, found {describe_value(text)}"
        raise InvalidRequestError(problem, "input")
    fields = validate_fields(SpeechFields, body, SPEECH)
    request = SpeechRequest(
        text=fields.input,
        voice=fields.voice,
        language=fields.language,
        speed=fields.speed,
        audio_format=fields.response_format,
    )
    return SpeechCall(fields.model, request, SPEECH.unknown_fields(fields))
