"""Reading forms: what clients send, what is broken, and what is too much."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

import aiohttp
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from server.api.body import BODY_TIMEOUT_S
from server.api.clients.address import ClientAddresses
from server.api.errors import error_middleware
from server.api.middleware.access_log import access_log_middleware
from server.api.multipart import MAX_LINES, MAX_PARTS, MAX_TEXT_BYTES, read_form
from server.api.request_facts import RequestFacts

LIMIT = 4 * 2**20
HEADERS = {"Content-Type": "multipart/form-data; boundary=xyz"}
NAME = 'Content-Disposition: form-data; name="a"'


async def describe(request: web.Request) -> web.Response:
    form = await read_form(request)
    files = {
        name: [
            [file.filename, file.content_type, len(file.content), file.content[:8].hex()]
            for file in files
        ]
        for name, files in form.files.items()
    }
    return web.json_response({"texts": form.texts, "files": files})


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    find_facts = partial(RequestFacts.of, addresses=ClientAddresses([]))
    app = web.Application(
        middlewares=(access_log_middleware(find_facts, is_on=False), error_middleware),
        client_max_size=LIMIT,
    )
    app[BODY_TIMEOUT_S] = 60.0
    app.router.add_post("/form", describe)
    async with TestClient(TestServer(app)) as client:
        yield client


Client = TestClient[web.Request, web.Application]


def part(*headers: str, content: str = "1") -> str:
    return "--xyz\r\n" + "".join(f"{header}\r\n" for header in headers) + f"\r\n{content}\r\n"


async def post(client: Client, body: str | bytes, **headers: str) -> tuple[int, str]:
    data = io.BytesIO(body if isinstance(body, bytes) else body.encode())
    async with client.post("/form", data=data, headers={**HEADERS, **headers}) as response:
        answer = await response.json()
        return response.status, answer["error"]["message"] if "error" in answer else answer


async def test_what_httpx_and_so_the_openai_client_sends(client: Client) -> None:
    audio = bytes(range(256)) * 1000 + b"\r\n--not the boundary\r\n"
    async with httpx.AsyncClient() as sender:
        response = await sender.post(
            str(client.make_url("/form")),
            data={"model": "m", "prompt": "häß\r\n--x", "timestamp_granularities[]": ["a", "b"]},
            files=[
                ("file", ('ä "1".wav', audio, "audio/wav")),
                ("image[]", ("1.png", b"\x89PNG", "image/png")),
                ("image[]", ("2.png", b"", "image/png")),
            ],
        )
    assert response.json() == {
        "texts": {
            "model": ["m"],
            "prompt": ["häß\r\n--x"],
            "timestamp_granularities[]": ["a", "b"],
        },
        "files": {
            "file": [["ä %221%22.wav", "audio/wav", len(audio), "0001020304050607"]],
            "image[]": [["1.png", "image/png", 4, "89504e47"], ["2.png", "image/png", 0, ""]],
        },
    }


async def test_what_aiohttp_sends(client: Client) -> None:
    form = aiohttp.FormData()
    form.add_field("model", "m")
    form.add_field("file", b"abc", filename="träume.mp3")
    async with client.post("/form", data=form) as response:
        answer = await response.json()
    assert answer["texts"] == {"model": ["m"]}
    assert answer["files"]["file"][0][1:] == ["application/octet-stream", 3, b"abc".hex()]


async def test_a_name_in_other_forms(client: Client) -> None:
    encoded = "form-data; name=a; filename*=UTF-8''%C3%A4.wav"
    body = part(f"content-disposition: {encoded}") + part(NAME, content="") + "--xyz--"
    assert await post(client, "preamble\r\n" + body + "\r\nepilogue") == (
        200,
        {"texts": {"a": [""]}, "files": {"a": [["ä.wav", "application/octet-stream", 1, "31"]]}},
    )


async def test_a_file_without_a_filename(client: Client) -> None:
    """As the tests of OpenVINO Model Server send it, with an encoding that they do not use."""
    raw = (
        NAME,
        "Content-Type: application/octet-stream",
        "Content-Transfer-Encoding: Quoted-Printable",
    )
    body = part(*raw, content="=%") + part(NAME, "Content-Type: application/json") + "--xyz--"
    assert await post(client, body.encode().replace(b"%", b"\xff")) == (
        200,
        {"texts": {"a": ["1"]}, "files": {"a": [["", "application/octet-stream", 2, "3dff"]]}},
    )


async def test_an_empty_form(client: Client) -> None:
    assert await post(client, "--xyz--\r\n") == (200, {"texts": {}, "files": {}})


async def test_a_text_in_another_character_set(client: Client) -> None:
    body = part(NAME, "Content-Type: text/plain; charset=latin-1", content="%") + "--xyz--\r\n"
    status, answer = await post(client, body.encode().replace(b"%", b"\xe4"))
    assert (status, answer["texts"]) == (200, {"a": ["ä"]})  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("", "Could not find starting boundary"),
        ('{"model": "m"}', "Could not find starting boundary"),
        ("--xyz\r\n", "part 1 of the body has no name"),
        (part(NAME), "the body is no multipart/form-data"),
        (part(NAME)[:-4], "the body is no multipart/form-data"),
        (part(NAME, content="1\r\n--xyzabc"), "Invalid boundary"),
        (part("Content-Disposition: form-data") + "--xyz--", "part 1 of the body has no name"),
        (part("Content-Type: text/plain") + "--xyz--", "part 1 of the body has no name"),
        (part("no colon") + "--xyz--", "the body is no multipart/form-data"),
        (part("x: " + "y" * 9000) + "--xyz--", "the body is no multipart/form-data"),
        (part(*(["x: y"] * 200)) + "--xyz--", "Too many headers"),
        (part(NAME, "Content-Type: multipart/mixed; boundary=i"), "part 1 is of several parts"),
        (part(NAME, "Content-Transfer-Encoding: base64"), "a: Content-Transfer-Encoding 'base64'"),
        (part(NAME, "Content-Type: text/plain; charset=utf-99") + "--xyz--", "a is not text"),
        (part(NAME, content="\udcff") + "--xyz--", "a is not text in the character set 'utf-8'"),
        ("\r\n" * MAX_LINES + part(NAME), f"more than {MAX_LINES} lines outside its parts"),
        (part(NAME) * (MAX_PARTS + 1) + "--xyz--", f"more than {MAX_PARTS} parts"),
        (part(NAME, content="x" * (MAX_TEXT_BYTES + 1)) + "--xyz--", "a is longer than"),
    ],
)
async def test_what_is_broken(body: str, problem: str, client: Client) -> None:
    status, message = await post(client, body.encode(errors="surrogateescape"))
    assert status == 400
    assert problem in message


@pytest.mark.parametrize(
    ("content_type", "problem"),
    [
        ("application/json", "must be multipart/form-data, found 'application/json'"),
        ("multipart/mixed; boundary=xyz", "must be multipart/form-data"),
        ("multipart/form-data", "boundary missed"),
        ("multipart/form-data; boundary=" + "b" * 71, "is too long"),
    ],
)
async def test_another_content_type(content_type: str, problem: str, client: Client) -> None:
    status, message = await post(client, part(NAME), **{"Content-Type": content_type})
    assert status == 400
    assert problem in message


async def test_a_compressed_form(client: Client) -> None:
    status, message = await post(client, part(NAME), **{"Content-Encoding": "br"})
    assert status == 400
    assert "'br' is not supported" in message


FILE = 'Content-Disposition: form-data; name="f"; filename="f"'


async def test_a_length_above_the_limit_of_the_application(client: Client) -> None:
    answer = await post(client, (part(NAME) + "--xyz--\r\n").ljust(LIMIT + 1))
    assert answer == (413, f"the body is larger than {LIMIT} bytes")


@pytest.mark.parametrize("form", [(" " * 1000 + "\r\n") * 5000, part(FILE, content="x" * LIMIT)])
async def test_a_body_of_no_known_length_above_the_limit(form: str, client: Client) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(form), 2**16):
            yield form[start : start + 2**16].encode()

    async with client.post("/form", data=chunks(), headers=HEADERS) as response:
        assert response.status == 413


def large_forms() -> Iterator[bytes]:
    for letter in b"abcd":
        yield part(FILE, content=chr(letter) * (LIMIT - 1000)).encode() + b"--xyz--\r\n"


async def test_large_files_do_not_stall_other_requests(client: Client) -> None:
    uploads = [asyncio.create_task(post(client, form)) for form in large_forms()]
    slowest = 0.0
    while not all(upload.done() for upload in uploads):
        start = time.monotonic()
        assert (await post(client, part(NAME) + "--xyz--\r\n"))[0] == 200
        slowest = max(slowest, time.monotonic() - start)
    assert [(await upload)[0] for upload in uploads] == [200] * 4
    assert slowest < 1
