"""/responses on a real socket, read by the types of OpenAI's client."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent, ResponseTextDeltaEvent
from pydantic import TypeAdapter
from support.serving import Server

EVENT = TypeAdapter[Any](ResponseStreamEvent)

PREFIXES = ["/v3", "/v1", "/v3/v1"]


def body(text: str = "hello big world", **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "input": text, **fields}


def read_events(text: str) -> Iterator[Any]:
    """The data of each event, whose name has to be its type."""
    for event in text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        fields = json.loads(data.removeprefix("data: "))
        assert name == f"event: {fields['type']}"
        EVENT.validate_python(fields)
        yield fields


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_whole(server: Server, prefix: str) -> None:
    status, answer = await server.post(f"{prefix}/responses", body(instructions="be kind"))
    assert status == 200
    response = Response.model_validate(answer)
    assert response.id.startswith("resp_")
    assert response.status == "completed"
    assert response.output_text == "hello big world"
    assert response.output[0].id.startswith("msg_")
    assert response.instructions == "be kind"
    assert response.completed_at >= response.created_at
    assert response.usage is not None
    assert response.usage.model_dump(exclude_none=True) == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 6,
    }


async def test_the_response_repeats_the_request(server: Server) -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    said = {
        "max_output_tokens": 9,
        "metadata": {"a": "b"},
        "prompt_cache_key": "key",
        "safety_identifier": "s",
        "temperature": 0.5,
        "tool_choice": "none",
        "tools": [tool],
        "top_logprobs": 2,
        "top_p": 0.25,
        "user": "me",
    }
    _, answer = await server.post("/v1/responses", body(**said, store=True))
    Response.model_validate(answer)
    assert {name: answer[name] for name in said} == said
    assert answer["store"] is False
    tool_of_chat = {"type": "function", "function": {"name": "f"}}
    _, answer = await server.post("/v1/responses", body(tools=[tool_of_chat]))
    assert answer["tools"] == [
        {"type": "function", "name": "f", "parameters": None, "strict": None}
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_is_cut_off(server: Server, stream: bool) -> None:
    request = body(max_output_tokens=2, stream=stream)
    if stream:
        *_, done, last = read_events(await server.post_text("/v3/responses", request))
        assert last["type"] == "response.incomplete"
        assert done["item"]["status"] == "incomplete"
        answer = last["response"]
    else:
        _, answer = await server.post("/v3/responses", request)
    assert answer["status"] == answer["output"][0]["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["completed_at"] is None
    assert answer["output"][0]["content"][0]["text"] == "hello big"


async def test_events(server: Server) -> None:
    events = list(read_events(await server.post_text("/v3/responses", body("a b", stream=True))))
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    item_ids = {event["item_id"] for event in events if "item_id" in event}
    assert item_ids == {events[2]["item"]["id"], events[-1]["response"]["output"][0]["id"]}
    assert [event["delta"] for event in events if "delta" in event] == ["a", " b"]
    created, final = events[0]["response"], events[-1]["response"]
    assert (created["id"], created["status"], created["output"]) == (
        final["id"],
        "in_progress",
        [],
    )
    assert created["usage"] is None
    assert final["usage"]["output_tokens"] == 2


async def test_events_of_an_empty_text(server: Server) -> None:
    events = list(read_events(await server.post_text("/v3/responses", body(" ", stream=True))))
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == " "


async def test_logprobs(server: Server) -> None:
    fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    _, answer = await server.post("/v3/responses", body("a b", **fields))
    logprobs = answer["output"][0]["content"][0]["logprobs"]
    assert [token["token"] for token in logprobs] == ["a", " b"]
    assert [top["token"] for top in logprobs[0]["top_logprobs"]] == ["a0"]
    text = await server.post_text("/v3/responses", body("a b", stream=True, **fields))
    events = list(read_events(text))
    deltas = [token for event in events if "delta" in event for token in event["logprobs"]]
    assert deltas == logprobs
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == logprobs


async def test_text_with_line_separators_stays_one_event(server: Server) -> None:
    text = 'a\u2028b\u0085c\n\nd"\\\U0001f600'
    raw = await server.post_text("/v3/responses", body(text, stream=True))
    assert raw.isascii()
    deltas = [event["delta"] for event in read_events(raw) if "delta" in event]
    assert "".join(deltas) == text


PARSED = [
    {
        "type": "reasoning",
        "status": "completed",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "I think"}],
    },
    {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "Let me look", "annotations": [], "logprobs": []}
        ],
    },
    {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_a",
        "name": "f",
        "arguments": '{"x": 1}',
    },
    {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_b",
        "name": "g",
        "arguments": "{}",
    },
]


def without_ids(output: Any) -> Any:
    prefixes = [item["id"].split("_")[0] for item in output]
    kinds = {"reasoning": "rs", "message": "msg", "function_call": "fc"}
    assert prefixes == [kinds[item["type"]] for item in output]
    return [{k: v for k, v in item.items() if k != "id"} for item in output]


async def test_reasoning_and_function_calls(server: Server) -> None:
    _, answer = await server.post("/v3/responses", body(model="parsed"))
    Response.model_validate(answer)
    assert without_ids(answer["output"]) == PARSED
    assert answer["status"] == "completed"
    assert answer["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}


async def test_events_of_reasoning_and_function_calls(server: Server) -> None:
    text = await server.post_text("/v3/responses", body(model="parsed", stream=True))
    events = list(read_events(text))
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert without_ids(events[-1]["response"]["output"]) == PARSED
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == events[-1]["response"]["output"]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == [0, 1, 2, 3]
    assert [event["item"]["id"] for event in added] == [item["id"] for item in done]
    usage = events[-1]["response"]["usage"]
    assert usage["output_tokens_details"] == {"reasoning_tokens": 2}


@pytest.mark.parametrize("num_tokens", range(1, 8))
async def test_only_what_was_cut_off_is_incomplete(server: Server, num_tokens: int) -> None:
    request = body(model="parsed", max_output_tokens=num_tokens)
    _, whole = await server.post("/v3/responses", request)
    *_, last = read_events(await server.post_text("/v3/responses", {**request, "stream": True}))
    assert last["type"] == "response.incomplete"
    assert without_ids(last["response"]["output"]) == without_ids(whole["output"])
    *before, cut = [item["status"] for item in whole["output"]]
    assert (cut, set(before)) in [("incomplete", set()), ("incomplete", {"completed"})]


async def test_log_probabilities_come_with_the_text(server: Server) -> None:
    request = body(model="parsed", top_logprobs=1)
    _, whole = await server.post("/v3/responses", request)
    *_, last = read_events(await server.post_text("/v3/responses", {**request, "stream": True}))
    for response in (whole, last["response"]):
        (message,) = [item for item in response["output"] if item["type"] == "message"]
        assert [token["token"] for token in message["content"][0]["logprobs"]] == ["t4", "t5"]


async def test_the_clients_helper_and_function_calls(server: Server) -> None:
    async with (
        server.openai() as client,
        client.responses.stream(model="parsed", input="hi") as stream,
    ):
        final = await stream.get_final_response()
    calls = [item for item in final.output if item.type == "function_call"]
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"x": 1}'), ("g", "{}")]


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("!generation", "server_error"),
        ("!bug", "server_error"),
        ("!unfinished", "server_error"),
        ("!invalid", "invalid_prompt"),
    ],
)
async def test_error_in_mid_stream_is_a_failed_response(
    server: Server, word: str, code: str
) -> None:
    text = await server.post_text("/v3/responses", body(f"hello {word}", stream=True))
    *events, last = read_events(text)
    assert events[0]["type"] == "response.created"
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == code


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("word", "status"), [("!invalid", 400), ("!bug", 500)])
async def test_error_before_the_first_token_has_a_status(
    server: Server, word: str, status: int, stream: bool
) -> None:
    found, answer = await server.post("/v3/responses", body(word, stream=stream))
    assert found == status
    assert answer["error"]["message"]


async def test_client_that_leaves(server: Server) -> None:
    async with server.http.post("/v3/responses", json=body("!endless", stream=True)) as response:
        assert await response.content.readline()
        assert server.manager.get("echo").graph.num_running == 1
        response.close()
    await server.until_running(0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v3/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v3/v1/responses/resp_1/input_items"),
        ("POST", "/v3/responses/resp_1/cancel"),
    ],
)
async def test_nothing_is_stored(server: Server, method: str, path: str) -> None:
    async with server.http.request(method, path) as response:
        assert response.status == 404
        error = (await response.json())["error"]
    assert "there is no response 'resp_1': this server stores none" in error["message"]


async def test_the_client(server: Server) -> None:
    async with server.openai() as client:
        response = await client.responses.create(model="echo", input="hello world")
        assert response.output_text == "hello world"
        follow_up: Any = [*response.output, {"role": "user", "content": "and on"}]
        response = await client.responses.create(model="echo", input=follow_up)
        assert response.output_text == "and on"
        with pytest.raises(openai.BadRequestError, match="responses are not stored") as error:
            await client.responses.create(model="echo", input="x", previous_response_id=response.id)
        assert error.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError, match="this server stores none"):
            await client.responses.retrieve(response.id)
        with pytest.raises(openai.NotFoundError, match="this server stores none"):
            await client.responses.delete(response.id)


async def test_the_client_and_a_stream(server: Server) -> None:
    async with server.openai() as client:
        stream = await client.responses.create(model="echo", input="hello world", stream=True)
        deltas = [e.delta async for e in stream if isinstance(e, ResponseTextDeltaEvent)]
        assert deltas == ["hello", " world"]
        async with client.responses.stream(model="echo", input="hello world") as helper:
            snapshots = [
                event.snapshot
                async for event in helper
                if event.type == "response.output_text.delta"
            ]
            final = await helper.get_final_response()
    assert snapshots == ["hello", "hello world"]
    assert final.output_text == "hello world"


async def test_the_sync_client(server: Server) -> None:
    def ask() -> str:
        with openai.OpenAI(base_url=f"{server.url}/v3", api_key="unused") as client:
            with client.responses.stream(model="echo", input="hello world") as stream:
                stream.until_done()
                streamed = stream.get_final_response().output_text
            whole = client.responses.create(model="echo", input="hello world").output_text
        assert streamed == whole
        return whole

    assert await asyncio.to_thread(ask) == "hello world"
