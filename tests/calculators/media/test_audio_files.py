"""Reading and writing audio files, compared with libsndfile."""

import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
import soundfile
from support.tiny_speech import tone

from calculators.media import audio_decoding
from calculators.media.audio_decoding import MAX_BYTES_VARIABLE, MEMORY_PER_SAMPLES, decode_audio
from calculators.media.audio_encoding import ENCODINGS, PCM_RATE, encode_audio
from server.errors import InvalidRequestError
from server.payloads import AUDIO_FORMATS, AudioFormat

RATE = 16_000
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


def sound_file(samples: Any, rate: int, container: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def decode(content: bytes) -> Any:
    return np.array(decode_audio(content, RATE, lambda: False))


@pytest.mark.parametrize(
    ("subtype", "error"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-14), ("PCM_24", 2**-22), ("FLOAT", 0), ("ULAW", 0.02)],
)
@pytest.mark.parametrize("num_channels", [1, 2])
def test_forms_of_wav(subtype: str, error: float, num_channels: int) -> None:
    samples = np.stack([tone(1) * (1 - 0.5 * i) for i in range(num_channels)], axis=1)
    found = decode(sound_file(samples, RATE, "WAV", subtype))
    np.testing.assert_allclose(found, samples.mean(axis=1), atol=error + 1e-7)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_resampling(rate: int) -> None:
    times = np.arange(rate) / rate
    found = decode(sound_file(np.sin(2 * np.pi * 440 * times), rate, "WAV", "FLOAT"))
    assert abs(len(found) - RATE) <= 1
    expected = np.sin(2 * np.pi * 440 * np.arange(len(found)) / RATE)
    # Both ends have no neighbours to be computed from.
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=2e-3)


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3", "AIFF"])
def test_other_formats(container: str) -> None:
    samples = tone(1)
    found = decode(sound_file(samples, RATE, container))
    assert abs(len(found) - RATE) < 0.1 * RATE
    assert np.corrcoef(found[: len(samples)], samples[: len(found)])[0, 1] > 0.9


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"hello", "File parsing fails: Received input file is not valid wav nor mp3 audio file"),
        (bytes(1000), "not valid"),
        (np.random.default_rng(0).bytes(20_000), "not valid"),
        (PLAYLIST, "not valid"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not valid"),
        (sound_file(tone(1)[:0], RATE, "WAV"), "0.000 s of audio"),
        (sound_file(tone(1)[:100], RATE, "WAV"), "0.006 s of audio; it must have at least 0.1 s"),
        (sound_file(tone(1), RATE, "FLAC")[:60], "not valid"),
        (sound_file(tone(1), 100, "WAV"), "100 samples per second; possible: 1000"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_audio(content: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem) as error:
        decode(content)
    assert error.value.param == "file"


def test_an_encoding_that_nobody_knows() -> None:
    content = bytearray(sound_file(tone(1), RATE, "WAV", "PCM_16"))
    content[34:36] = b"\0\0"  # bits of a sample
    with pytest.raises(InvalidRequestError, match="its encoding is unknown"):
        decode(bytes(content))


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes() -> None:
    content = sound_file(tone(2), RATE, "WAV")
    found = decode(content[: len(content) // 2])
    assert abs(len(found) - RATE) < 100


def test_a_small_file_that_would_become_a_long_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_BYTES_VARIABLE, str(4 * RATE * 60))
    hour = sound_file(np.zeros(RATE * 600, dtype=np.int16), RATE, "FLAC")
    assert len(hour) < 100_000
    tracemalloc.start()
    with pytest.raises(InvalidRequestError, match="the recording is longer than 60 s"):
        decode(hour)
    assert tracemalloc.get_traced_memory()[1] < 16 * RATE * 60
    tracemalloc.stop()


def test_a_recording_for_which_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    content = sound_file(np.zeros(RATE * 30, dtype=np.int16), RATE, "FLAC")
    for free_s, fits in ((29, False), (31, True)):
        free = 4 * MEMORY_PER_SAMPLES * RATE * free_s
        monkeypatch.setattr(audio_decoding, "available_bytes", lambda free=free: free)
        if fits:
            assert len(decode(content)) == 30 * RATE
            continue
        with pytest.raises(InvalidRequestError, match=r"longer than 29 s; there is no memory"):
            decode(content)


def test_a_decoding_that_is_cancelled() -> None:
    samples = decode_audio(sound_file(tone(20), RATE, "WAV"), RATE, lambda: True)
    assert len(samples) < 10 * RATE


@pytest.mark.parametrize("audio_format", AUDIO_FORMATS)
@pytest.mark.parametrize("rate", [16_000, 24_000, 11_025])
def test_written_files(audio_format: AudioFormat, rate: int) -> None:
    samples = tone(1, rate)
    content = encode_audio(samples, rate, audio_format)
    if audio_format == "pcm":
        assert abs(len(content) - 2 * PCM_RATE) < 100
        return
    found = decode(content)
    # Encoders add some silence at both ends.
    assert RATE - 10 <= len(found) < 1.2 * RATE
    if audio_format == "wav":
        read, found_rate = soundfile.read(io.BytesIO(content), dtype="float32")
        assert found_rate == rate
        np.testing.assert_allclose(read, samples, atol=2**-14)
        assert soundfile.info(io.BytesIO(content)).subtype == "PCM_16"


def test_loud_and_broken_samples_are_cut() -> None:
    samples = np.array([2.0, -3.0, np.nan, 0.5] * 1000, dtype=np.float32)
    found = decode(encode_audio(samples, RATE, "wav"))
    np.testing.assert_allclose(found[:4], [1, -1, 0, 0.5], atol=2**-14)


def test_every_format_can_be_written() -> None:
    assert set(ENCODINGS) == set(AUDIO_FORMATS)
