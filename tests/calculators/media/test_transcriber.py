"""Whisper without a server: cancelled, and what cannot be loaded."""

import json
import shutil
import sys
from pathlib import Path
from threading import Event

import pytest
from support.wav_files import wav

from calculators.media.speaker import Speaker
from calculators.media.transcriber import Transcriber, check_transcriber
from server.errors import InvalidRequestError, ModelLoadError
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


@pytest.mark.parametrize(("letter", "num_kept"), [("x", 44), ("é", 22)])
def test_of_a_long_prompt_the_end_is_read(
    transcriber: Transcriber, letter: str, num_kept: int
) -> None:
    def text(prompt: str) -> str:
        request = TranscriptionRequest(wav(3), language="en", prompt=prompt)
        return transcriber.transcribe(request, Event()).text

    assert text("a" + letter * 5000) == text(letter * num_kept) != text("")


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


@pytest.mark.parametrize("name", ["av", "openvino_genai"])
def test_an_install_without_the_libraries(
    name: str, speech_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelLoadError, match=rf"{name}.* \[media\]: pip install"):
        check_transcriber(speech_models / "whisper", "CPU")


def test_a_model_of_english_alone(speech_models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "english"
    shutil.copytree(speech_models / "whisper", folder)
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    del config["lang_to_id"], config["task_to_id"]
    path.write_text(json.dumps({**config, "is_multilingual": False}))
    model = Transcriber(folder, "CPU", {}, with_words=False)
    assert model.transcribe(TranscriptionRequest(wav(3)), Event()).text
    assert model.transcribe(TranscriptionRequest(wav(3), language="en"), Event()).text
    with pytest.raises(InvalidRequestError, match="knows only English"):
        model.transcribe(TranscriptionRequest(wav(3), language="de"), Event())
    with pytest.raises(InvalidRequestError, match="cannot translate"):
        model.transcribe(TranscriptionRequest(wav(3), translates=True), Event())
