"""The endpoints of speech: audio files to text, and text to audio files."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel

from server.api.body import read_call
from server.api.endpoint import Answer, Endpoint, error_answers, json_body
from server.api.errors import ClientGoneError, api_error
from server.api.model_lookup import find_model, graph_between
from server.api.multipart import read_form
from server.api.request_facts import REQUEST_FACTS
from server.api.runs import run_once, start_run
from server.api.sse import EventStream
from server.api.unknown_fields import UNKNOWN_FIELD_POLICY
from server.errors import GenerationError
from server.payloads import SpeechAudio, SpeechRequest, TranscriptChunk, TranscriptionRequest
from server.protocol.audio.speech import AUDIO_TYPES, SpeechFields, parse_speech
from server.protocol.audio.transcript_rendering import TranscriptAnswer, TranscriptRenderer
from server.protocol.audio.transcriptions import (
    TranscriptionCall,
    TranscriptionFields,
    TranslationFields,
    parse_transcription,
    parse_translation,
)
from server.protocol.multipart_form import MultipartForm

__all__ = ["ENDPOINTS"]

Chunks = AsyncIterator[TranscriptChunk]

WITHOUT_END = "the graph ended before the transcript did"


def _transcription_handler(parse: Callable[[MultipartForm], TranscriptionCall]) -> Handler:
    """Make the handler of an endpoint from the function that parses its forms."""

    async def handle(request: web.Request) -> web.StreamResponse:
        call = parse(await read_form(request))
        request.app[UNKNOWN_FIELD_POLICY].apply(request, call.unknown_fields)
        model = find_model(request, call.model)
        graph = graph_between(model, TranscriptionRequest, TranscriptChunk)
        async with start_run(graph, call.request, request[REQUEST_FACTS]) as chunks:
            if call.request.stream:
                return await _answer_in_events(request, call.renderer, chunks)
            return await _answer_whole(call.renderer, chunks)

    return handle


async def _answer_whole(renderer: TranscriptRenderer, chunks: Chunks) -> web.Response:
    async for chunk in chunks:
        if chunk.transcript is not None:
            body = renderer.whole(chunk.transcript)
            return web.Response(body=body, content_type=renderer.content_type, charset="utf-8")
    raise GenerationError(WITHOUT_END)


async def _answer_in_events(
    request: web.Request, renderer: TranscriptRenderer, chunks: Chunks
) -> web.StreamResponse:
    events = EventStream(request, renderer.failure)
    try:
        await _send_events(events, renderer, chunks)
    except ClientGoneError:
        raise
    except Exception as error:
        if not events.has_started:
            raise
        await events.fail(api_error(error))
    return events.response


async def _send_events(events: EventStream, renderer: TranscriptRenderer, chunks: Chunks) -> None:
    async for chunk in chunks:
        if chunk.transcript is not None:
            return await events.send(renderer.done(chunk.transcript))
        await events.send(renderer.delta(chunk.delta))
    raise GenerationError(WITHOUT_END)


async def _speak(request: web.Request) -> web.Response:
    call = await read_call(request, parse_speech)
    request.app[UNKNOWN_FIELD_POLICY].apply(request, call.unknown_fields)
    graph = graph_between(find_model(request, call.model), SpeechRequest, SpeechAudio)
    audio = await run_once(graph, call.request, SpeechAudio, request[REQUEST_FACTS])
    return web.Response(body=audio.content, content_type=AUDIO_TYPES[audio.audio_format])


def _form_schema(fields: type[BaseModel]) -> dict[str, Any]:
    """The fields of a form, and its file."""
    schema = fields.model_json_schema()
    schema["properties"]["file"] = {"type": "string", "format": "binary"}
    schema["required"] = [*schema["required"], "file"]
    return schema


def _endpoint(
    path: str,
    summary: str,
    parse: Callable[[MultipartForm], TranscriptionCall],
    fields: type[BaseModel],
) -> Endpoint:
    text = {"type": "string"}
    answer = Answer(
        "The transcript, in the form that `response_format` says",
        {
            "application/json": TranscriptAnswer,
            "text/plain": text,
            "text/vtt": text,
            "text/event-stream": text,
        },
    )
    return Endpoint(
        "POST",
        path,
        _transcription_handler(parse),
        summary,
        {"200": answer, **error_answers(400, 404, 413, 500, 503, 504)},
        body={"multipart/form-data": _form_schema(fields)},
        is_prefixed=True,
    )


AUDIO_FILE = Answer("An audio file", {content_type: {} for content_type in AUDIO_TYPES.values()})

ENDPOINTS = (
    _endpoint(
        "/audio/transcriptions", "Write down speech", parse_transcription, TranscriptionFields
    ),
    _endpoint(
        "/audio/translations",
        "Translate speech into English text",
        parse_translation,
        TranslationFields,
    ),
    Endpoint(
        "POST",
        "/audio/speech",
        _speak,
        "Speak a text",
        {"200": AUDIO_FILE, **error_answers(400, 404, 413, 500, 503, 504)},
        body=json_body(SpeechFields),
        is_prefixed=True,
    ),
)
