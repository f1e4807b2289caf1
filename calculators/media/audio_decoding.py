"""Audio files of any common format -> samples, within bounds.

FFmpeg decodes (PyAV). It can also read playlists, which name further files: only formats that hold
their audio themselves are opened.
"""

import io
import os
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from server.errors import InvalidRequestError
from server.host.memory import available_bytes

__all__ = ["decode_audio"]

FORMATS = "aac,aiff,amr,flac,matroska,mov,mp3,ogg,wav,w64"
# Model Server's variable. It bounds the samples, 4 bytes each, and so the memory they take.
MAX_BYTES_VARIABLE = "OVMS_AUDIO_MAX_FILE_SIZE_BYTES"
DEFAULT_MAX_BYTES = 2**30
# While a Whisper is at work, openvino-genai holds copies of the samples and their spectrogram: an
# hour took 1,010 MB, 4.4 times the samples, and two hours twice that.
MEMORY_PER_SAMPLES = 5
# Real recordings are within these; one packet at 1 Hz would become hours of samples.
MIN_RATE = 1000
MAX_RATE = 768_000
# OpenAI's limit as well. The feature extraction needs a little more than nothing.
MIN_SECONDS = 0.1
# Model Server's sentence, with the other formats.
INVALID = (
    "File parsing fails: Received input file is not valid wav nor mp3 audio file, nor flac, ogg, "
    "m4a or webm"
)


def decode_audio(content: bytes, rate: int, is_cancelled: Callable[[], bool]) -> "array[float]":
    """Decode a file, mix its channels and resample it to `rate` samples per second.

    The samples are float32 from -1 to 1. A file that breaks off is decoded as far as it goes.
    Stops early if `is_cancelled`. Raises InvalidRequestError.
    """
    import av

    if not content:
        raise _refusal("the file is empty")
    values = array("f")
    max_samples = _max_bytes() // values.itemsize
    max_in_memory = available_bytes() // (values.itemsize * MEMORY_PER_SAMPLES)
    try:
        for frame in _frames(content, rate):
            # FFmpeg's own mix of floating point samples can be louder than its channels.
            values.frombytes(frame.to_ndarray().mean(axis=0, dtype=np.float32).tobytes())
            if len(values) > max_samples:
                raise _refusal(f"the recording is longer than {max_samples / rate:.0f} s")
            if len(values) > max_in_memory:
                raise _refusal(
                    f"the recording is longer than {max_in_memory / rate:.0f} s; there is no "
                    "memory for more now"
                )
            if is_cancelled():
                break
    except av.FFmpegError as error:
        raise _refusal(f"{INVALID}: {error.strerror}") from error
    except ValueError as error:  # the channels change in the middle
        raise _refusal(f"{INVALID}: {error}") from error
    if len(values) < MIN_SECONDS * rate and not is_cancelled():
        found = f"{len(values) / rate:.3f} s of audio"
        raise _refusal(f"the file has {found}; it must have at least {MIN_SECONDS} s")
    return values


def _frames(content: bytes, rate: int) -> Iterator[Any]:
    import av

    options = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
    with av.open(io.BytesIO(content), "r", container_options=options) as container:
        if not container.streams.audio:
            raise _refusal(f"{INVALID}: it has no audio")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise _refusal(f"{INVALID}: its encoding is unknown")
        found_rate = stream.codec_context.sample_rate
        if not MIN_RATE <= found_rate <= MAX_RATE:
            problem = f"the file has {found_rate} samples per second"
            raise _refusal(f"{problem}; possible: {MIN_RATE} to {MAX_RATE}")
        resampler = av.AudioResampler(format="fltp", rate=rate)
        for packet in container.demux(stream):
            for frame in _decode(packet):
                yield from resampler.resample(frame)
        yield from resampler.resample(None)


def _decode(packet: Any) -> list[Any]:
    """The frames of a packet; none if it is damaged, as players do."""
    import av

    try:
        return list(packet.decode())
    except (av.InvalidDataError, av.EOFError):
        return []


def _max_bytes() -> int:
    text = os.environ.get(MAX_BYTES_VARIABLE, "")
    return int(text) if text.isdecimal() and int(text) else DEFAULT_MAX_BYTES


def _refusal(problem: str) -> InvalidRequestError:
    return InvalidRequestError(problem, "file")
