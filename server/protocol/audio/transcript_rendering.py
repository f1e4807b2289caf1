"""Transcripts as OpenAI's endpoints write them: JSON, plain text, subtitles, events."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from server.payloads import Transcript, TranscriptionRequest, TranscriptSegment
from server.protocol.json_text import json_bytes

__all__ = ["FORMATS_WITH_TIMES", "TranscriptAnswer", "TranscriptFormat", "TranscriptRenderer"]

TranscriptFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]

FORMATS_WITH_TIMES = ("srt", "vtt", "verbose_json")
CONTENT_TYPES: Mapping[TranscriptFormat, str] = {
    "json": "application/json",
    "text": "text/plain",
    "srt": "text/plain",
    "vtt": "text/vtt",
    "verbose_json": "application/json",
}


class AudioSeconds(BaseModel):
    """How much audio a request had; OpenAI's form of usage."""

    type: Literal["duration"]
    seconds: float


class SegmentAnswer(BaseModel):
    """A part of the transcript, times in seconds; `id` and `temperature` with verbose_json."""

    id: int | None = None
    start: float
    end: float
    text: str
    temperature: float | None = None


class WordAnswer(BaseModel):
    """A word, times in seconds."""

    word: str
    start: float
    end: float


class TranscriptAnswer(BaseModel):
    """The answer as JSON.

    `segments` and `words` are there if `timestamp_granularities` asks for them; verbose_json has
    `task`, `language` (a code), `duration` and `usage` as well, and segments unless only words are
    asked for.
    """

    text: str
    task: Literal["transcribe", "translate"] | None = None
    language: str | None = None
    duration: float | None = None
    segments: list[SegmentAnswer] | None = None
    words: list[WordAnswer] | None = None
    usage: AudioSeconds | None = None


class TranscriptRenderer:
    """Writes the answer to one request."""

    def __init__(self, answer_format: TranscriptFormat, request: TranscriptionRequest) -> None:
        self._format = answer_format
        self._request = request
        self.content_type = CONTENT_TYPES[answer_format]

    def whole(self, transcript: Transcript) -> bytes:
        """The body of the answer."""
        match self._format:
            case "text":
                return f"{transcript.text.strip()}\n".encode()
            case "srt":
                return _subtitles(transcript, ",", is_numbered=True).encode()
            case "vtt":
                return ("WEBVTT\n\n" + _subtitles(transcript, ".")).encode()
            case "verbose_json":
                return json_bytes(self._verbose(transcript))
        return json_bytes({"text": transcript.text, **self._times(transcript)})

    def delta(self, text: str) -> bytes:
        """The event of a piece of the text."""
        return _event({"type": "transcript.text.delta", "delta": text, "logprobs": []})

    def done(self, transcript: Transcript) -> bytes:
        """The last event."""
        return _event(
            {
                "type": "transcript.text.done",
                "text": transcript.text,
                "logprobs": [],
                **self._times(transcript),
                "usage": _usage(transcript),
            }
        )

    def failure(self, error: dict[str, Any]) -> bytes:
        """The event of an error, the last one."""
        return _event({"type": "error", "error": error})

    def _verbose(self, transcript: Transcript) -> dict[str, Any]:
        times = self._times(transcript)
        for i, segment in enumerate(times.get("segments", ())):
            segment |= {"id": i, "temperature": self._request.temperature}
        return {
            "task": "translate" if self._request.translates else "transcribe",
            "language": transcript.language,
            "duration": transcript.duration_s,
            "text": transcript.text,
            **times,
            "usage": _usage(transcript),
        }

    def _times(self, transcript: Transcript) -> dict[str, list[dict[str, Any]]]:
        times: dict[str, list[dict[str, Any]]] = {}
        if self._request.with_words:
            times["words"] = [
                {"word": word.word.strip(), "start": word.start_s, "end": word.end_s}
                for word in transcript.words
            ]
        if self._request.with_segments:
            times["segments"] = [
                {"text": segment.text, "start": segment.start_s, "end": segment.end_s}
                for segment in transcript.segments
            ]
        return times


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": transcript.duration_s}


def _event(members: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % json_bytes(members)


def _subtitles(transcript: Transcript, point: str, *, is_numbered: bool = False) -> str:
    """The lines of all segments; `point` stands before the milliseconds."""
    return "".join(
        (f"{number}\n" if is_numbered else "") + _subtitle(segment, point)
        for number, segment in enumerate(transcript.segments, 1)
    )


def _subtitle(segment: TranscriptSegment, point: str) -> str:
    times = f"{_time(segment.start_s, point)} --> {_time(segment.end_s, point)}"
    # An arrow or an empty line inside a text would look like the next subtitle.
    lines = segment.text.replace("-->", "->").split("\n")
    text = "\n".join(line.strip() for line in lines if line.strip())
    return f"{times}\n{text}\n\n"


def _time(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds."""
    total_s, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, whole_s = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{whole_s:02}{point}{milliseconds:03}"
