"""Text to speech with a real pipeline, through the real openai client."""

import asyncio
import io
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from openai import AsyncOpenAI
from support.serving import Server

from calculators.media import pipeline_process
from calculators.media.speaker import Speaker
from server.errors import InvalidRequestError
from server.payloads import AUDIO_FORMATS, SpeechRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "The fox runs"


@pytest.fixture(scope="module")
def pipeline(speech_models: Path) -> Any:
    """The library without the server."""
    import openvino_genai

    return openvino_genai.Text2SpeechPipeline(speech_models / "speecht5", "CPU")


def samples(content: bytes) -> Any:
    read, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate == 16_000
    return read


async def test_as_the_library_itself(
    client: AsyncOpenAI, pipeline: Any, speech_repository: Path
) -> None:
    import openvino

    spoken = []
    beside_model = Path("models/speecht5/voices")
    voices = {"default": "", "ann": "speech", "bob": "speech", "cat": beside_model}
    for voice, place in voices.items():
        embedding = None
        if place:
            numbers = np.fromfile(speech_repository / place / f"{voice}.bin", dtype="<f4")
            embedding = openvino.Tensor(numbers.reshape(1, 512))
        expected = pipeline.generate(TEXT, embedding).speeches[0].data.ravel()
        answer = await client.audio.speech.create(model="speech", input=TEXT, voice=voice)
        assert answer.response.headers["Content-Type"] == "audio/wav"
        np.testing.assert_allclose(samples(answer.content), expected, atol=2**-14)
        spoken.append(answer.content)
    assert len(set(spoken)) == 4


async def test_the_formats(client: AsyncOpenAI) -> None:
    types = ("mpeg", "ogg", "aac", "flac", "wav", "pcm")
    for audio_format, content_type in zip(AUDIO_FORMATS, types, strict=True):
        answer = await client.audio.speech.create(
            model="speech", input=TEXT, voice="ann", response_format=audio_format
        )
        assert answer.response.headers["Content-Type"] == f"audio/{content_type}"
        assert len(answer.content) > 1000


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"voice": "eve"}, "voice 'eve' not found in available voices: ann, cat, bob, default"),
        ({"speed": 3.5}, "speed must be between speed_min (0.25) and speed_max (3), found 3.5"),
        ({"model": "whisper"}, "does not serve this endpoint"),
        ({"stream_format": "sse"}, "streaming is not supported"),
    ],
)
async def test_what_is_refused(server: Server, fields: dict[str, Any], problem: str) -> None:
    body = {"model": "speech", "input": TEXT, **fields}
    status, answer = await server.post("/v3/audio/speech", body)
    assert status == 400
    assert problem in answer["error"]["message"]


@pytest.mark.parametrize("text", ["日本語 🦊", "\n", ""])
async def test_texts_that_the_model_does_not_know(client: AsyncOpenAI, text: str) -> None:
    answer = await client.audio.speech.create(model="speech", input=text, voice="default")
    assert len(samples(answer.content)) > 0


async def test_a_text_that_is_too_long(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="at most 4096 characters"):
        await client.audio.speech.create(model="speech", input="a" * 5000, voice="ann")


async def test_a_text_that_is_too_long_for_the_model(
    speech_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is spoken in pieces."""
    import openvino_genai

    folder, f32 = speech_models / "speecht5", {"INFERENCE_PRECISION_HINT": "f32"}
    pipeline = openvino_genai.Text2SpeechPipeline(folder, "CPU", **f32)
    speaker = Speaker(folder, "CPU", f32, {})
    assert speaker._max_characters == 448
    monkeypatch.setattr(speaker, "_max_characters", 6)
    spoken = speaker.speak(SpeechRequest("The fox runs."), Event())
    pieces = []
    for piece in ("The", "fox", "runs."):
        result = pipeline.generate(piece, None)
        # A copy: the memory is the result's.
        pieces.append(result.speeches[0].data.ravel().copy())
    np.testing.assert_allclose(samples(spoken.content), np.concatenate(pieces), atol=2**-14)
    monkeypatch.setattr(speaker, "_max_characters", None)
    with pytest.raises(InvalidRequestError, match="this text of 1000 characters; it may be too"):
        speaker.speak(SpeechRequest("a" * 1000), Event())


async def test_a_client_that_leaves(
    server: Server, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library cannot end a speech: its process is killed, and others do not notice."""
    monkeypatch.setattr(pipeline_process, "GRACE_S", 0.0)
    graph = server.manager.get("speech").graph

    def node() -> Any:
        [status] = graph.status().values()
        return status

    before = node()
    speech = asyncio.create_task(
        client.audio.speech.create(model="speech", input="a" * 200, voice="ann")
    )
    await server.until_running(1, "speech")
    speech.cancel()
    assert await client.audio.speech.create(model="speech", input=TEXT, voice="ann")
    assert node()["restarts"] == before["restarts"] + 1
    assert node()["pid"] != before["pid"]
