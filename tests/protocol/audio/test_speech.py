"""Bodies of the speech endpoint."""

from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.payloads import SpeechRequest
from server.protocol.audio.speech import MAX_CHARACTERS, parse_speech

BODY = {"model": "m", "input": "hi"}


def test_the_defaults() -> None:
    call = parse_speech({**BODY, "voice": None, "stream_format": "audio", "instructions": ""})
    assert call.model == "m"
    assert call.request == SpeechRequest("hi", audio_format="wav")


def test_all_fields() -> None:
    given = {"voice": "ann", "language": "de", "speed": 2, "response_format": "mp3", "tone": 1}
    call = parse_speech({**BODY, **given})
    assert call.request == SpeechRequest("hi", "ann", "de", 2.0, "mp3")
    assert call.unknown_fields.names == ("tone",)


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({"input": None}, "input", "input field is not a string, found null"),
        ({"input": 3}, "input", "input field is not a string, found the number 3"),
        ({"input": "x" * (MAX_CHARACTERS + 1)}, "input", f"at most {MAX_CHARACTERS} characters"),
        ({"model": 1}, "model", "model must be a string"),
        ({"voice": ["a"]}, "voice", "voice must be a string"),
        ({"speed": "fast"}, "speed", "speed must be a number"),
        ({"speed": 0}, "speed", "greater than 0"),
        ({"response_format": "ogg"}, "response_format", "'opus'"),
        ({"stream_format": "sse"}, "stream_format", "streaming is not supported"),
        ({"instructions": "whisper"}, "instructions", "instructions is not supported"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_speech({**BODY, **fields})
    assert problem in str(error.value)
    assert error.value.param == param
