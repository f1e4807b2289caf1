"""Packets of speech: audio to text, and text to audio."""

from dataclasses import dataclass
from typing import Literal

from server.payloads.client_request import ClientRequest

__all__ = [
    "AUDIO_FORMATS",
    "AudioFormat",
    "SpeechAudio",
    "SpeechRequest",
    "Transcript",
    "TranscriptChunk",
    "TranscriptSegment",
    "TranscriptWord",
    "TranscriptionRequest",
]

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
AUDIO_FORMATS: tuple[AudioFormat, ...] = ("mp3", "opus", "aac", "flac", "wav", "pcm")


@dataclass(frozen=True, slots=True)
class TranscriptionRequest(ClientRequest):
    """An audio file to write down, or to translate into English.

    `audio` is the content of the file. `language` is a code such as "en"; None lets the model find
    out. `prompt` is text that could stand before the transcript. `temperature` 0 takes the
    likeliest tokens. `stream` sends the text as it comes.
    """

    audio: bytes
    translates: bool = False
    language: str | None = None
    prompt: str = ""
    temperature: float = 0.0
    with_segments: bool = False
    with_words: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class TranscriptSegment:
    """A part of a transcript, between two times of the audio."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class TranscriptWord:
    """One word, with the times of its start and its end."""

    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. `language` is the code of the spoken language, if the model tells it.

    `segments` and `words` are empty if they were not asked for.
    """

    text: str
    duration_s: float
    language: str | None = None
    segments: tuple[TranscriptSegment, ...] = ()
    words: tuple[TranscriptWord, ...] = ()


@dataclass(frozen=True, slots=True)
class TranscriptChunk:
    """A piece of a streamed text, or in the last chunk the whole transcript."""

    delta: str = ""
    transcript: Transcript | None = None


@dataclass(frozen=True, slots=True)
class SpeechRequest(ClientRequest):
    """A text to speak. Without `voice` or `language` the model's own is taken."""

    text: str
    voice: str | None = None
    language: str | None = None
    speed: float = 1.0
    audio_format: AudioFormat = "wav"


@dataclass(frozen=True, slots=True)
class SpeechAudio:
    """Speech as a file in the format that was asked for."""

    content: bytes
    audio_format: AudioFormat
