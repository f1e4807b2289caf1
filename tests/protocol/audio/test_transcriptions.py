"""Forms with audio, and the forms of a transcript."""

import json
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import Transcript, TranscriptSegment, TranscriptWord
from server.protocol.audio.transcriptions import parse_transcription, parse_translation
from server.protocol.multipart_form import MultipartForm, UploadedFile

AUDIO = [UploadedFile("a.wav", "audio/wav", b"RIFF")]
LONG = Transcript(
    " One.\n\n Two --> three.",
    duration_s=7300.5,
    language="en",
    segments=(
        TranscriptSegment(" One.", 0.0, 59.9996),
        TranscriptSegment(" Two\n\n --> three.", 3599.5, 7300.05),
    ),
    words=(TranscriptWord(" One.", 0.0, 0.5),),
)


def form(**texts: Any) -> MultipartForm:
    fields = {name: value if isinstance(value, list) else [value] for name, value in texts.items()}
    return MultipartForm({"model": ["m"], **fields}, {"file": AUDIO})


def body(transcript: Transcript, **texts: Any) -> str:
    return parse_transcription(form(**texts)).renderer.whole(transcript).decode()


def test_the_defaults() -> None:
    call = parse_transcription(form())
    request = call.request
    assert (call.model, request.audio, request.language, request.prompt) == ("m", b"RIFF", None, "")
    assert (request.temperature, request.stream, request.translates) == (0.0, False, False)
    assert not request.with_segments
    assert not request.with_words


def test_all_fields() -> None:
    call = parse_transcription(
        form(
            language="DE",
            prompt="Fuchs",
            temperature="0.5",
            response_format="verbose_json",
            **{"timestamp_granularities[]": ["word", "segment"]},
        )
    )
    request = call.request
    assert (request.language, request.prompt, request.temperature) == ("de", "Fuchs", 0.5)
    assert request.with_segments
    assert request.with_words


def test_a_form_whose_fields_are_empty_is_as_one_without_them() -> None:
    empty = form(language="", prompt="", temperature="", response_format="", stream="")
    assert parse_transcription(empty).request == parse_transcription(form()).request


@pytest.mark.parametrize(
    ("answer_format", "asked", "segments", "words"),
    [
        ("json", [], False, False),
        ("json", ["word"], False, True),
        ("verbose_json", [], True, False),
        ("verbose_json", ["word"], False, True),
        ("verbose_json", ["segment", "word"], True, True),
        ("srt", [], True, False),
        ("vtt", [], True, False),
        ("text", [], False, False),
    ],
)
def test_which_times_are_asked_for(
    answer_format: str, asked: list[str], segments: bool, words: bool
) -> None:
    texts = {"response_format": answer_format, "timestamp_granularities": asked}
    request = parse_transcription(form(**texts)).request
    assert (request.with_segments, request.with_words) == (segments, words)


@pytest.mark.parametrize(
    ("texts", "param", "problem"),
    [
        ({"model": []}, "model", "model is missing"),
        ({"model": ["a", "b"]}, "model", "model is there 2 times"),
        ({"language": "english"}, "language", "Invalid language code."),
        ({"language": "e"}, "language", "Invalid language code."),
        ({"language": "1é"}, "language", "Invalid language code."),
        ({"temperature": "warm"}, "temperature", "Invalid temperature type."),
        ({"temperature": "nan"}, "temperature", "Temperature out of range(0.0, 2.0)"),
        ({"temperature": "-1"}, "temperature", "Temperature out of range(0.0, 2.0)"),
        ({"temperature": "2.01"}, "temperature", "Temperature out of range(0.0, 2.0)"),
        ({"response_format": "xml"}, "response_format", "'srt'"),
        ({"stream": "perhaps"}, "stream", "boolean"),
        ({"stream": "true", "response_format": "srt"}, "response_format", "cannot be streamed"),
        (
            {"timestamp_granularities[]": ["word", "letter"]},
            "timestamp_granularities",
            'Allowed types: "segment", "word"',
        ),
        (
            {"timestamp_granularities[]": ""},
            "timestamp_granularities",
            "Invalid timestamp_granularities type.",
        ),
        ({"include[]": "logprobs"}, "include", "include is not supported"),
    ],
)
def test_what_is_refused(texts: dict[str, Any], param: str, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_transcription(form(**texts))
    assert problem in str(error.value)
    assert error.value.param == param


@pytest.mark.parametrize(
    ("files", "texts", "problem"),
    [
        ({}, {}, "File parsing fails: file is missing"),
        ({"File": AUDIO}, {}, "did you mean 'File'?"),
        ({}, {"file": ["RIFF"]}, "file is a text; it must be a file"),
        ({"file": AUDIO * 2}, {}, "file has 2 files; it must have one"),
        ({"file": [UploadedFile("a", "b", b"")]}, {}, "File parsing fails: the file is empty"),
    ],
)
def test_a_form_without_its_file(files: Any, texts: Any, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_transcription(MultipartForm({"model": ["m"], **texts}, files))
    assert problem in str(error.value)
    assert error.value.param == "file"


def test_an_unknown_field() -> None:
    call = parse_transcription(form(langauge="en"))
    assert call.unknown_fields.names == ("langauge",)
    assert "language" in call.unknown_fields.describe("langauge")


def test_a_translation() -> None:
    call = parse_translation(form(prompt="fox", response_format="verbose_json", stream="false"))
    assert call.request.translates
    assert call.request.with_segments
    assert json.loads(call.renderer.whole(LONG))["task"] == "translate"
    with pytest.raises(
        InvalidRequestError, match="streaming is not supported for translations endpoint"
    ):
        parse_translation(form(stream="true"))


def test_json() -> None:
    assert json.loads(body(LONG)) == {"text": LONG.text}
    times = json.loads(body(LONG, **{"timestamp_granularities[]": ["word", "segment"]}))
    assert times["words"] == [{"word": "One.", "start": 0.0, "end": 0.5}]
    assert times["segments"][0] == {"text": " One.", "start": 0.0, "end": 59.9996}


def test_verbose_json() -> None:
    answer = json.loads(body(LONG, response_format="verbose_json", temperature="0.25"))
    assert answer["segments"][1].pop("text")
    assert answer == {
        "task": "transcribe",
        "language": "en",
        "duration": 7300.5,
        "text": LONG.text,
        "segments": [
            {"id": 0, "text": " One.", "start": 0.0, "end": 59.9996, "temperature": 0.25},
            {"id": 1, "start": 3599.5, "end": 7300.05, "temperature": 0.25},
        ],
        "usage": {"type": "duration", "seconds": 7300.5},
    }


def test_text() -> None:
    assert body(LONG, response_format="text") == "One.\n\n Two --> three.\n"


def test_subtitles() -> None:
    assert body(LONG, response_format="srt") == (
        "1\n00:00:00,000 --> 00:01:00,000\nOne.\n\n"
        "2\n00:59:59,500 --> 02:01:40,050\nTwo\n-> three.\n\n"
    )
    assert body(LONG, response_format="vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:01:00.000\nOne.\n\n"
        "00:59:59.500 --> 02:01:40.050\nTwo\n-> three.\n\n"
    )
