"""The endpoints that make images."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from aiohttp import web

from server.api.body import read_body, read_call
from server.api.endpoint import Endpoint, error_answers, json_answer
from server.api.model_lookup import find_model, graph_between
from server.api.multipart import read_form
from server.api.request_facts import REQUEST_FACTS
from server.api.runs import run_once
from server.errors import InvalidRequestError
from server.payloads import ImageRequest, ImageResponse
from server.protocol.openai.images import (
    EDIT_SCHEMA,
    GENERATION_SCHEMA,
    ImageAnswer,
    parse_edit,
    parse_generation,
    render_images,
)

__all__ = ["ENDPOINTS"]


async def _generate(request: web.Request) -> web.Response:
    return await _answer(request, await read_call(request, parse_generation))


async def _edit(request: web.Request) -> web.Response:
    return await _answer(request, parse_edit(await read_form(request)))


async def _refuse_variations(request: web.Request) -> NoReturn:
    await read_body(request)
    raise InvalidRequestError(
        "images/variations is not supported; images/edits changes an image by a prompt"
    )


async def _answer(request: web.Request, call: ImageRequest) -> web.Response:
    graph = graph_between(find_model(request, call.model), ImageRequest, ImageResponse)
    response = await run_once(graph, call, ImageResponse, request[REQUEST_FACTS])
    # In a thread, as images are large.
    body = await asyncio.to_thread(render_images, response, int(time.time()))
    return web.Response(body=body, content_type="application/json")


def _endpoint(path: str, handler: Any, summary: str, body: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        "POST",
        path,
        handler,
        summary,
        json_answer("The images", ImageAnswer) | error_answers(400, 404, 413, 500, 503, 504),
        body=body,
        is_prefixed=True,
    )


ENDPOINTS = (
    _endpoint(
        "/images/generations",
        _generate,
        "Make images from a text",
        {"application/json": GENERATION_SCHEMA},
    ),
    _endpoint(
        "/images/edits",
        _edit,
        "Change an image, or the part of it that a mask marks",
        {"multipart/form-data": EDIT_SCHEMA},
    ),
    Endpoint(
        "POST",
        "/images/variations",
        _refuse_variations,
        "Not supported; refused by name",
        error_answers(400, 413),
        body={"multipart/form-data": {"type": "object"}},
        is_prefixed=True,
    ),
)
