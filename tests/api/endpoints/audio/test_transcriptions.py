"""Speech to text with a real pipeline, through the real openai client."""

import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import soundfile
from openai import AsyncOpenAI
from support.fakes import parse_events
from support.serving import Server
from support.tiny_speech import tone
from support.wav_files import wav

pytestmark = pytest.mark.asyncio(loop_scope="module")

URL = "/v3/audio/transcriptions"


@pytest.fixture(scope="module")
def pipeline(speech_models: Path) -> Any:
    """The library without the server."""
    import openvino_genai

    properties = {"INFERENCE_PRECISION_HINT": "f32", "word_timestamps": True}
    return openvino_genai.ASRPipeline(speech_models / "whisper", "CPU", **properties)


def file(seconds: float = 3) -> tuple[str, bytes, str]:
    return "a.wav", wav(seconds), "audio/wav"


async def post(server: Server, url: str = URL, **texts: str) -> tuple[int, str, str]:
    form = aiohttp.FormData({"model": "whisper", **texts})
    form.add_field("file", io.BytesIO(wav(3)), filename="a.wav")
    async with server.http.post(url, data=form) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_what_transformers_hears(client: AsyncOpenAI, speech_models: Path) -> None:
    heard = json.loads((speech_models / "source/whisper/heard.json").read_text())
    assert len(heard) == 2
    for each in heard:
        found = await client.audio.transcriptions.create(
            model="whisper", file=file(each["seconds"]), language=each["language"]
        )
        assert found.text == each["text"]


@pytest.mark.parametrize("seconds", [3, 40])
async def test_as_the_library_itself(client: AsyncOpenAI, pipeline: Any, seconds: int) -> None:
    for language in ("en", "de"):
        settings = {"language": f"<|{language}|>", "task": "transcribe"}
        expected = pipeline.generate(
            tone(seconds), return_timestamps=True, word_timestamps=True, **settings
        )
        found = await client.audio.transcriptions.create(
            model="whisper",
            file=file(seconds),
            language=language,
            response_format="verbose_json",
            timestamp_granularities=["segment", "word"],
        )
        assert found.text == expected.texts[0]
        assert (found.language, found.duration) == (language, seconds)
        assert found.segments
        assert found.words
        assert [(s.text, s.start, s.end) for s in found.segments] == [
            (s.text, s.start_ts, s.end_ts) for s in expected.chunks[0]
        ]
        assert [(w.word, w.start, w.end) for w in found.words] == [
            (w.text.strip(), w.start_ts, w.end_ts) for w in expected.words[0]
        ]


async def test_a_prompt_and_a_temperature(client: AsyncOpenAI, pipeline: Any) -> None:
    settings = {"task": "transcribe", "language": "<|en|>"}
    prompted = pipeline.generate(tone(3), initial_prompt="fox bear", **settings).texts[0]
    warm = pipeline.generate(tone(3), do_sample=True, temperature=0.5, **settings).texts[0]
    plain = pipeline.generate(tone(3), **settings).texts[0]
    assert len({prompted, warm, plain}) == 3
    for expected, fields in ((prompted, {"prompt": "fox bear"}), (warm, {"temperature": 0.5})):
        found = await client.audio.transcriptions.create(
            model="whisper",
            file=file(),
            language="en",
            **fields,  # type: ignore[call-overload]
        )
        assert found.text == expected


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning:")
async def test_a_translation(client: AsyncOpenAI, pipeline: Any) -> None:
    expected = pipeline.generate(tone(3), task="translate").texts[0]
    assert expected != pipeline.generate(tone(3), task="transcribe").texts[0]
    found = await client.audio.translations.create(model="whisper", file=file())
    assert found.text == expected


async def test_a_stream(client: AsyncOpenAI) -> None:
    whole = await client.audio.transcriptions.create(model="whisper", file=file(), language="en")
    stream = await client.audio.transcriptions.create(
        model="whisper", file=file(), language="en", stream=True
    )
    events = [event async for event in stream]
    *deltas, done = events
    assert len(deltas) > 3
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert "".join(event.delta for event in deltas) == whole.text  # type: ignore[union-attr]
    assert (done.type, done.text) == ("transcript.text.done", whole.text)  # type: ignore[union-attr]


async def test_the_events_of_a_stream(server: Server) -> None:
    status, content_type, text = await post(server, stream="true")
    assert (status, content_type) == (200, "text/event-stream")
    first, *_, done = parse_events(text)
    assert set(first) == {"type", "delta", "logprobs"}
    assert done["usage"] == {"type": "duration", "seconds": 3.0}


@pytest.mark.parametrize("prefix", ["/v1", "/v3", "/v3/v1"])
async def test_every_prefix(server: Server, prefix: str) -> None:
    for name in ("transcriptions", "translations"):
        status, _, text = await post(server, f"{prefix}/audio/{name}")
        assert status == 200
        assert set(json.loads(text)) == {"text"}


@pytest.mark.parametrize(
    ("answer_format", "content_type", "start"),
    [
        ("json", "application/json; charset=utf-8", '{"text":'),
        ("text", "text/plain; charset=utf-8", ""),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:0"),
        ("vtt", "text/vtt; charset=utf-8", "WEBVTT\n\n00:00:0"),
        ("verbose_json", "application/json; charset=utf-8", '{"task":"transcribe"'),
    ],
)
async def test_the_formats(
    server: Server, answer_format: str, content_type: str, start: str
) -> None:
    status, found_type, text = await post(server, response_format=answer_format)
    assert (status, found_type) == (200, content_type)
    assert text.startswith(start)


@pytest.mark.parametrize("container", ["MP3", "FLAC", "OGG"])
async def test_other_files_under_a_wrong_name(client: AsyncOpenAI, container: str) -> None:
    content = io.BytesIO()
    soundfile.write(content, tone(3), 16_000, format=container)
    found = await client.audio.transcriptions.create(
        model="whisper", file=("a.wav", content.getvalue(), "audio/wav")
    )
    assert found.text


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({"language": "xx"}, "does not know 'xx'; possible: de, en, fr"),
        ({"language": "english"}, "Invalid language code."),
        (
            {"model": "no-words", "timestamp_granularities[]": "word"},
            "Word timestamps not supported for this model",
        ),
        ({"model": "speech"}, "does not serve this endpoint"),
    ],
)
async def test_what_the_model_cannot_do(
    server: Server, texts: dict[str, str], problem: str
) -> None:
    for stream in ("", "true"):
        status, _, text = await post(server, **texts, stream=stream)
        assert status == 400
        assert problem in json.loads(text)["error"]["message"]


async def test_a_model_that_is_not_there(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await client.audio.transcriptions.create(model="nobody", file=file())


@pytest.mark.parametrize("content", [b"no audio", b"RIFF" + bytes(100), wav(0.01)])
async def test_a_file_that_is_no_audio(client: AsyncOpenAI, content: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        await client.audio.transcriptions.create(model="whisper", file=("a.wav", content))
    assert error.value.param == "file"


async def test_json_instead_of_a_form(server: Server) -> None:
    status, answer = await server.post(URL, {"model": "whisper", "file": "a.wav"})
    assert status == 400
    assert "must be multipart/form-data" in answer["error"]["message"]
