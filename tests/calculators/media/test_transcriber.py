"""Whisper without a server: cancelled, and what cannot be loaded."""

from pathlib import Path
from threading import Event

import pytest
from support.wav_files import wav

from calculators.media.speaker import Speaker
from calculators.media.transcriber import Transcriber
from server.errors import ModelLoadError
from server.payloads import TranscriptionRequest


@pytest.fixture(scope="module")
def transcriber(speech_models: Path) -> Transcriber:
    return Transcriber(speech_models / "whisper", "CPU", {}, with_words=False)


@pytest.mark.parametrize("seconds", [3, 100])
def test_a_cancelled_transcript_ends_early(transcriber: Transcriber, seconds: int) -> None:
    request = TranscriptionRequest(wav(seconds), language="en", stream=True)
    pieces: list[str] = []
    whole = transcriber.transcribe(request, Event(), pieces.append)
    assert "".join(pieces) == whole.text
    cancelled = Event()
    few: list[str] = []

    def stop(text: str) -> None:
        few.append(text)
        cancelled.set()

    part = transcriber.transcribe(request, cancelled, stop)
    assert len(few) == 1
    assert len(part.text) < len(whole.text)


def test_nothing_runs_for_one_that_was_cancelled_before(transcriber: Transcriber) -> None:
    cancelled = Event()
    cancelled.set()
    assert transcriber.transcribe(TranscriptionRequest(wav(3)), cancelled).text == ""


@pytest.mark.parametrize(
    ("name", "device", "properties", "problem"),
    [
        ("nothing", "CPU", {}, "no such folder"),
        ("source", "CPU", {}, "openvino_tokenizer.xml"),
        ("whisper", "GPU.7", {}, "there is no GPU here"),
        ("whisper", "CPU", {"NO_SUCH": 1}, "openvino-genai cannot load it"),
        ("speecht5", "CPU", {}, "openvino-genai cannot load it"),
    ],
)
def test_what_cannot_be_loaded(
    speech_models: Path, name: str, device: str, properties: dict[str, object], problem: str
) -> None:
    with pytest.raises(ModelLoadError, match=problem):
        Transcriber(speech_models / name, device, properties, with_words=False)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "file does not exist"), (bytes(16), "has 16 bytes; the model takes 512 numbers")],
)
def test_a_voice_that_cannot_be_loaded(
    speech_models: Path, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    voice = tmp_path / "voice.bin"
    if content is not None:
        voice.write_bytes(content)
    with pytest.raises(ModelLoadError, match=problem):
        Speaker(speech_models / "speecht5", "CPU", {}, {"ann": voice})
