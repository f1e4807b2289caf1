"""Fields that no endpoint knows: a header, a line in the log, or a refusal."""

import json
import logging
from typing import Any

import pytest
from support.serving import Server

from server.api.settings import HttpSettings
from server.api.unknown_fields import MAX_LOGGED_NAMES

LOGGER = "server.api.unknown_fields"


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": "hi"}], **fields}


async def headers(server: Server, path: str, body: dict[str, Any]) -> Any:
    async with server.http.post(path, json=body) as response:
        assert response.status == 200, await response.text()
        return response.headers


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOGGER]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_names_what_was_ignored(server: Server, stream: bool) -> None:
    body = chat(stream=stream, temprature=0, **{"größe, x\r\n": 1}, top_k=None)
    found = await headers(server, "/v3/chat/completions", body)
    assert found["X-Ignored-Fields"] == "temprature, gr%C3%B6%C3%9Fe%2C%20x%0D%0A"
    assert "X-Ignored-Fields" in found.getall("Access-Control-Expose-Headers")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v3/completions", {"model": "echo", "prompt": "hi"}),
        ("/v3/responses", {"model": "echo", "input": "hi"}),
    ],
)
async def test_every_endpoint_does_so(server: Server, path: str, body: Any) -> None:
    assert "X-Ignored-Fields" not in await headers(server, path, body)
    assert (await headers(server, path, {**body, "zzz": 1}))["X-Ignored-Fields"] == "zzz"


async def test_a_name_is_logged_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        await headers(server, "/v3/chat/completions", chat(temprature=0))
    expected = "Ignored the unknown field 'temprature'; did you mean 'temperature'?"
    assert logged(caplog) == [expected]


async def test_log_and_header_are_bounded(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    many = {f"{number:0500}": 1 for number in range(MAX_LOGGED_NAMES + 100)}
    found = await headers(server, "/v3/chat/completions", chat(**many))
    assert found["X-Ignored-Fields"].endswith(", ...")
    assert len(found["X-Ignored-Fields"]) < 3000
    long = {"\U0001f600" * 100 + str(number): 1 for number in range(30)}
    found = await headers(server, "/v3/chat/completions", chat(**long))
    assert found["X-Ignored-Fields"].endswith(", ...")
    assert len(found["X-Ignored-Fields"]) < 3000
    await headers(server, "/v3/chat/completions", chat(other=1))
    assert len(logged(caplog)) <= MAX_LOGGED_NAMES + 1
    assert max(map(len, logged(caplog))) < 300


class TestRefused:
    @pytest.fixture
    def settings(self) -> HttpSettings:
        return HttpSettings(refuses_unknown_fields=True)

    async def test_unknown_names_are_refused(self, server: Server) -> None:
        status, answer = await server.post("/v3/chat/completions", chat(temprature=0))
        assert status == 400
        expected = "unknown field 'temprature'; did you mean 'temperature'?"
        assert answer["error"]["message"] == expected
        assert answer["error"]["param"] == "temprature"
        assert (await server.post("/v3/chat/completions", chat(user="u")))[0] == 200


async def test_metrics_and_timings_on_request(server: Server) -> None:
    _, answer = await server.post("/v3/chat/completions", chat(metrics=True, timings=True))
    assert answer["metrics"]["time_to_first_token_ms"] > 0
    assert answer["timings"]["predicted_n"] == answer["usage"]["completion_tokens"]
    assert answer["timings"]["predicted_ms"] >= 0
    _, answer = await server.post("/v3/chat/completions", chat())
    assert not {"metrics", "timings"} & {*answer}


async def test_times_of_a_stream(server: Server) -> None:
    events = await events_of(server, chat(stream=True, timings_per_token=True, metrics=True))
    assert all("timings" in event for event in events)
    assert events[-1]["choices"] == []
    assert {"metrics", "timings"} <= {*events[-1]}
    assert "usage" not in events[-1]
    events = await events_of(server, chat(stream=True, timings=True))
    assert ["timings" in event for event in events] == [False] * (len(events) - 1) + [True]


async def events_of(server: Server, body: dict[str, Any]) -> list[Any]:
    text = await server.post_text("/v3/chat/completions", body)
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]
