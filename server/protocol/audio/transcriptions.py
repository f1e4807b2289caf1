"""POST audio/transcriptions and audio/translations: a form -> a TranscriptionRequest."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from server.errors import InvalidRequestError
from server.payloads import TranscriptionRequest
from server.protocol.audio.transcript_rendering import (
    FORMATS_WITH_TIMES,
    TranscriptFormat,
    TranscriptRenderer,
)
from server.protocol.field_rules import FieldRules, Hint, Refused, UnknownFields
from server.protocol.multipart_form import MultipartForm
from server.protocol.validation import validate_fields

__all__ = [
    "TRANSCRIPTIONS",
    "TRANSLATIONS",
    "TranscriptionCall",
    "TranscriptionFields",
    "TranslationFields",
    "parse_transcription",
    "parse_translation",
]

LISTS = ("include", "known_speaker_names", "known_speaker_references", "timestamp_granularities")
# Model Server's; OpenAI's is 1.
MAX_TEMPERATURE = 2.0
LANGUAGE = re.compile("[A-Za-z]{2,3}")

NO_SPEAKERS = "the models do not tell speakers apart"
ONLY_TRANSCRIBED = Refused("streaming is not supported for translations endpoint", (False, "false"))

TRANSCRIPTIONS = FieldRules(
    {
        "chunking_strategy": Hint("the model divides long recordings itself"),
        "include": Refused("log probabilities of transcripts are not known", ([],)),
        "known_speaker_names": Refused(NO_SPEAKERS, ([],)),
        "known_speaker_references": Refused(NO_SPEAKERS, ([],)),
        "user": Hint("names the caller", str),
    }
)
TRANSLATIONS = FieldRules({"stream": ONLY_TRANSCRIBED, "user": Hint("names the caller", str)})


def _check_temperature(found: object) -> float:
    shown = repr(str(found)[:40])
    try:
        temperature = float(str(found))
    except ValueError as error:
        problem = f"Invalid temperature type. It must be a number, found {shown}"
        raise InvalidRequestError(problem, "temperature") from error
    if not 0 <= temperature <= MAX_TEMPERATURE:
        problem = f"Temperature out of range(0.0, {MAX_TEMPERATURE}), found {shown}"
        raise InvalidRequestError(problem, "temperature")
    return temperature


def _check_language(found: object) -> str:
    if not (isinstance(found, str) and LANGUAGE.fullmatch(found)):
        raise InvalidRequestError(
            f"Invalid language code. It must have 2 or 3 letters, found {str(found)[:40]!r}",
            "language",
        )
    return found.lower()


def _check_granularities(found: object) -> object:
    for name in found if isinstance(found, list) else [found]:
        if name not in ("segment", "word"):
            raise InvalidRequestError(
                'Invalid timestamp_granularities type. Allowed types: "segment", "word"; '
                f"found {str(name)[:40]!r}",
                "timestamp_granularities",
            )
    return found


class TranslationFields(BaseModel):
    """The texts of a form with an audio file; all of them are strings there.

    `temperature` above 0 chooses tokens at random.
    """

    model_config = ConfigDict(extra="allow", frozen=True, json_schema_extra=TRANSLATIONS.describe)

    model: str
    prompt: str = ""
    response_format: TranscriptFormat = "json"
    temperature: Annotated[float, BeforeValidator(_check_temperature)] = Field(
        0.0, ge=0, le=MAX_TEMPERATURE
    )


class TranscriptionFields(TranslationFields):
    """The texts of a form with an audio file; all of them are strings there."""

    model_config = ConfigDict(json_schema_extra=TRANSCRIPTIONS.describe)

    language: Annotated[str, BeforeValidator(_check_language)] | None = None
    timestamp_granularities: Annotated[
        list[Literal["segment", "word"]], BeforeValidator(_check_granularities)
    ] = Field(default_factory=list)
    stream: bool = False


@dataclass(frozen=True, slots=True)
class TranscriptionCall:
    """What a form asks for."""

    model: str
    request: TranscriptionRequest
    renderer: TranscriptRenderer
    unknown_fields: UnknownFields


def parse_transcription(form: MultipartForm) -> TranscriptionCall:
    """Parse a form. Raises InvalidRequestError."""
    fields = validate_fields(TranscriptionFields, form.fields(LISTS), TRANSCRIPTIONS)
    answer_format = fields.response_format
    if fields.stream and answer_format not in ("json", "text"):
        problem = f"response_format {answer_format} cannot be streamed; possible: json, text"
        raise InvalidRequestError(problem, "response_format")
    asked = fields.timestamp_granularities
    # OpenAI's default of verbose_json; subtitles are made of segments.
    is_default = not asked and answer_format == "verbose_json"
    request = TranscriptionRequest(
        audio=_audio(form),
        language=fields.language,
        prompt=fields.prompt,
        temperature=fields.temperature,
        with_segments="segment" in asked or is_default or answer_format in ("srt", "vtt"),
        with_words="word" in asked,
        stream=fields.stream,
    )
    return TranscriptionCall(
        model=fields.model,
        request=request,
        renderer=TranscriptRenderer(answer_format, request),
        unknown_fields=TRANSCRIPTIONS.unknown_fields(fields),
    )


def parse_translation(form: MultipartForm) -> TranscriptionCall:
    """Parse a form. Raises InvalidRequestError."""
    fields = validate_fields(TranslationFields, form.fields(LISTS), TRANSLATIONS)
    request = TranscriptionRequest(
        audio=_audio(form),
        translates=True,
        prompt=fields.prompt,
        temperature=fields.temperature,
        with_segments=fields.response_format in FORMATS_WITH_TIMES,
    )
    return TranscriptionCall(
        model=fields.model,
        request=request,
        renderer=TranscriptRenderer(fields.response_format, request),
        unknown_fields=TRANSLATIONS.unknown_fields(fields),
    )


def _audio(form: MultipartForm) -> bytes:
    try:
        content = form.only_file("file").content
    except InvalidRequestError as error:
        # The sentence of Model Server, and what is wrong.
        raise InvalidRequestError(f"File parsing fails: {error}", "file") from error
    if not content:
        raise InvalidRequestError("File parsing fails: the file is empty", "file")
    return content
