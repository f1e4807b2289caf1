"""SpeechModel and VoiceModel, without a server."""

from pathlib import Path

import pytest
from support.speech_graphs import transcriber_graph
from support.wav_files import wav

from server import SpeechModel, VoiceModel
from server.errors import InvalidRequestError, ModelLoadError


def test_recordings_to_text(speech_models: Path, tmp_path: Path) -> None:
    graph = tmp_path / "graph.pbtxt"
    graph.write_text(transcriber_graph(speech_models))
    file = tmp_path / "a.wav"
    file.write_bytes(wav(3))
    with SpeechModel(graph) as model:
        transcript = model.transcribe(file, language="en", segments=True, words=True)
        assert (transcript.language, transcript.duration_s) == ("en", 3.0)
        assert transcript.text
        assert transcript.segments
        assert transcript.words
        assert model.transcribe(wav(3), language="en") == model.transcribe(str(file), language="en")
        assert model.translate(file).text != model.transcribe(file).text
        with pytest.raises(InvalidRequestError, match="not valid"):
            model.transcribe(b"nothing")
        with pytest.raises(FileNotFoundError):
            model.transcribe(tmp_path / "missing.wav")


def test_folders_without_a_graph(speech_models: Path) -> None:
    with (
        VoiceModel(speech_models / "speecht5") as voice,
        SpeechModel(speech_models / "whisper") as model,
    ):
        spoken = voice.speak("The fox runs", audio_format="flac")
        assert spoken.startswith(b"fLaC")
        assert model.transcribe(spoken).duration_s > 0.1
        with pytest.raises(InvalidRequestError, match="voice 'eve' not found"):
            voice.speak("The fox runs", voice="eve")
        with pytest.raises(InvalidRequestError, match="audio_format is 'ogg'"):
            voice.speak("The fox runs", audio_format="ogg")  # type: ignore[arg-type]


def test_a_folder_of_another_kind(speech_models: Path) -> None:
    with pytest.raises(ModelLoadError):
        SpeechModel(speech_models / "nothing")
