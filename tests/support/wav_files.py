"""WAV files of `tone`, as clients send them."""

import io
from functools import cache

import soundfile
from support.tiny_speech import tone

__all__ = ["wav"]


@cache
def wav(seconds: float) -> bytes:
    """A file with float samples, so that the model gets exactly those of `tone`."""
    file = io.BytesIO()
    soundfile.write(file, tone(seconds), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()
