"""Samples -> audio files, in the formats of OpenAI's speech endpoint."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.payloads import AudioFormat

__all__ = ["encode_audio"]

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]

# A bare file of samples says nothing of its rate; OpenAI's has this one.
PCM_RATE = 24_000


@dataclass(frozen=True, slots=True)
class Encoding:
    """FFmpeg's names for a format; `rates` are those that its encoder takes."""

    container: str
    codec: str
    rates: tuple[int, ...] = ()


ENCODINGS: Mapping[AudioFormat, Encoding] = {
    "mp3": Encoding("mp3", "libmp3lame", (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)),
    "opus": Encoding("ogg", "libopus", (24_000, 16_000, 48_000)),
    "aac": Encoding("adts", "aac", (24_000, 16_000, 22_050, 32_000, 44_100, 48_000)),
    "flac": Encoding("flac", "flac"),
    "wav": Encoding("wav", "pcm_s16le"),
    "pcm": Encoding("s16le", "pcm_s16le", (PCM_RATE,)),
}


def encode_audio(samples: Samples, rate: int, audio_format: AudioFormat) -> bytes:
    """One channel of samples from -1 to 1 as a file; louder ones are cut off there.

    The file has `rate` samples per second, or the first rate that its encoder takes.
    """
    import av

    encoding = ENCODINGS[audio_format]
    is_possible = not encoding.rates or rate in encoding.rates
    file_rate = rate if is_possible else encoding.rates[0]
    frame = av.AudioFrame.from_ndarray(
        np.clip(np.nan_to_num(samples), -1.0, 1.0).reshape(1, -1), format="flt", layout="mono"
    )
    frame.sample_rate = rate
    file = io.BytesIO()
    with av.open(file, "w", format=encoding.container) as container:
        stream: Any = container.add_stream(encoding.codec, rate=file_rate, layout="mono")
        # The stream brings the samples into the encoder's form, and cuts them into its frames.
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()
