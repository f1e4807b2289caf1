"""A crash inside openvino-genai: words of a transcript that begins with a part of a character."""

import json
import shutil
from pathlib import Path

import pytest
from support.tiny_speech import is_readable
from support.wav_files import wav

from calculators.s2t_calculator import REQUEST, RESPONSE, S2tCalculator, S2tCalculatorOptions
from server.errors import GenerationError
from server.graph.testing import CalculatorRunner
from server.payloads import TranscriptionRequest


async def test_a_crash_of_the_library_fails_its_request_alone(
    speech_models: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bytes"
    shutil.copytree(speech_models / "whisper", folder)
    vocab = json.loads((speech_models / "source/whisper/vocab.json").read_text())
    path = folder / "generation_config.json"
    readable = [i for token, i in vocab.items() if is_readable(token)]
    path.write_text(json.dumps({**json.loads(path.read_text()), "suppress_tokens": readable}))
    options = S2tCalculatorOptions(str(folder), "CPU", enable_word_timestamps=True)
    runner = CalculatorRunner(S2tCalculator, options)
    runner.open()
    plain = TranscriptionRequest(wav(40), language="en")
    words = TranscriptionRequest(wav(40), language="en", with_words=True)
    [before] = (await runner.run({REQUEST: [plain]}))[RESPONSE.name]
    with pytest.raises(GenerationError, match="the process that runs the model ended: signal SIG"):
        await runner.run({REQUEST: [words]})
    [after] = (await runner.run({REQUEST: [plain]}))[RESPONSE.name]
    assert after == before
    assert runner.calculator.status()["restarts"] == 1
    runner.close()
