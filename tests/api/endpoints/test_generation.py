"""chat/completions and completions on a real socket, against fake models."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from support.fakes import parse_events
from support.serving import Server


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **fields}


def completion(prompt: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "echo", "prompt": prompt, **fields}


USAGE = {
    "prompt_tokens": 2,
    "completion_tokens": 2,
    "total_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 1},
}


@pytest.mark.parametrize("prefix", ["/v3", "/v1", "/v3/v1"])
async def test_chat(server: Server, prefix: str) -> None:
    status, answer = await server.post(f"{prefix}/chat/completions", chat("hello world"))
    assert status == 200
    assert answer.pop("id").startswith("chatcmpl-")
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "object": "chat.completion",
        "model": "echo",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello world", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }


async def test_chat_choices(server: Server) -> None:
    _, answer = await server.post("/v1/chat/completions", chat("a b c", n=2, max_tokens=2))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"a b"}
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (3, 4)


async def test_chat_logprobs(server: Server) -> None:
    body = chat("é b", logprobs=True, top_logprobs=1)
    _, answer = await server.post("/v1/chat/completions", body)
    first, second = answer["choices"][0]["logprobs"]["content"]
    assert first == {
        "token": "é",
        "logprob": -9999.0,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "é0", "logprob": -1.0, "bytes": [195, 169, 48]}],
    }
    assert second["token"] == " b"


async def test_chat_stream(server: Server) -> None:
    text = await server.post_text("/v3/chat/completions", chat("hello world", stream=True))
    *chunks, done = parse_events(text)
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["choices"] for chunk in chunks] == [
        [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "hello"},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
        [
            {
                "index": 0,
                "delta": {"content": " world"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
    ]
    assert all("usage" not in chunk for chunk in chunks)


async def test_chat_with_reasoning_and_tool_calls(server: Server) -> None:
    _, answer = await server.post("/v3/chat/completions", chat("x", model="parsed"))
    (choice,) = answer["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "Let me look",
        "refusal": None,
        "reasoning_content": "I think",
        "tool_calls": [
            {
                "id": "call_a",
                "type": "function",
                "function": {"name": "f", "arguments": '{"x": 1}'},
            },
            {"id": "call_b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }
    assert choice["finish_reason"] == "tool_calls"


async def test_reasoning_that_the_client_does_not_want(server: Server) -> None:
    body = chat("x", model="parsed", include_reasoning=False)
    _, answer = await server.post("/v3/chat/completions", body)
    assert "reasoning_content" not in answer["choices"][0]["message"]
    text = await server.post_text("/v3/chat/completions", {**body, "stream": True})
    *events, _ = parse_events(text)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert not any("reasoning_content" in delta for delta in deltas)
    assert deltas[0]["role"] == "assistant"


async def test_chat_stream_with_reasoning_and_tool_calls(server: Server) -> None:
    body = chat("x", model="parsed", stream=True)
    *events, done = parse_events(await server.post_text("/v3/chat/completions", body))
    assert done == "[DONE]"
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": None, "reasoning_content": "I "}
    assert deltas[1] == {"reasoning_content": "think"}
    assert "".join(delta.get("content") or "" for delta in deltas) == "Let me look"
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls == [
        {
            "index": 0,
            "id": "call_a",
            "type": "function",
            "function": {"name": "f", "arguments": ""},
        },
        {"index": 0, "function": {"arguments": '{"x":'}},
        {"index": 0, "function": {"arguments": " 1}"}},
        {
            "index": 1,
            "id": "call_b",
            "type": "function",
            "function": {"name": "g", "arguments": "{}"},
        },
    ]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_stream_headers(server: Server) -> None:
    body = chat("a", stream=True)
    async with server.http.post("/v3/chat/completions", json=body) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"


async def test_every_choice_of_a_stream_starts_with_the_role(server: Server) -> None:
    body = chat("a b", stream=True, n=2, logprobs=True)
    *chunks, _ = parse_events(await server.post_text("/v1/chat/completions", body))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [(c["index"], c["delta"].get("role")) for c in choices] == [
        (0, "assistant"),
        (1, "assistant"),
        (0, None),
        (1, None),
    ]
    assert [c["logprobs"]["content"][0]["token"] for c in choices] == ["a", "a", " b", " b"]


async def test_usage_chunk_only_where_asked(server: Server) -> None:
    body = chat("hello world", stream=True, stream_options={"include_usage": True})
    *chunks, usage, _ = parse_events(await server.post_text("/v1/chat/completions", body))
    assert [chunk["usage"] for chunk in chunks] == [None, None]
    assert (usage["choices"], usage["usage"]) == ([], USAGE)
    assert usage["id"] == chunks[0]["id"]


@pytest.mark.parametrize("has_last", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_usage_in_every_chunk(server: Server, path: str, has_last: bool) -> None:
    options = {"continuous_usage_stats": True, "include_usage": has_last}
    make = chat if "chat" in path else completion
    body = make("hello world", stream=True, n=2, stream_options=options)
    *chunks, done = parse_events(await server.post_text(path, body))
    assert done == "[DONE]"
    if has_last:
        last = chunks.pop()
        assert last["choices"] == []
        assert last["usage"] == chunks[-1]["usage"]
    counts = [(c["usage"]["prompt_tokens"], c["usage"]["completion_tokens"]) for c in chunks]
    assert counts == [(2, 1), (2, 2), (2, 3), (2, 4)]


async def test_text_with_line_separators_stays_one_event(server: Server) -> None:
    text = 'a\u2028b\u0085c\n\nd"\\\U0001f600'
    raw = await server.post_text("/v1/chat/completions", chat(text, stream=True))
    assert raw.isascii()
    first, *_ = parse_events(raw)
    assert first["choices"][0]["delta"]["content"] == text


async def test_completion(server: Server) -> None:
    status, answer = await server.post("/v1/completions", completion("hello world"))
    assert status == 200
    assert answer.pop("id").startswith("cmpl-")
    del answer["created"]
    assert answer == {
        "object": "text_completion",
        "model": "echo",
        "choices": [{"index": 0, "text": "hello world", "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
    }


async def test_several_prompts_number_their_choices_in_order(server: Server) -> None:
    body = completion(["a b", "c", "d e f"], n=2)
    _, answer = await server.post("/v1/completions", body)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    texts = ["a b", "a b", "c", "c", "d e f", "d e f"]
    assert [choice["text"] for choice in answer["choices"]] == texts
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (6, 12)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 3}


async def test_several_prompts_in_a_stream(server: Server) -> None:
    options = {"include_usage": True}
    body = completion([[1, 2], [3]], stream=True, stream_options=options)
    *chunks, usage, _ = parse_events(await server.post_text("/v1/completions", body))
    texts = {0: "", 1: ""}
    for chunk in chunks:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == {0: "1 2", 1: "3"}
    assert usage["usage"]["total_tokens"] == 6


@pytest.mark.parametrize("stream", [False, True])
async def test_completion_logprobs(server: Server, stream: bool) -> None:
    body = completion("ab c", logprobs=2, stream=stream)
    if stream:
        *chunks, _ = parse_events(await server.post_text("/v1/completions", body))
        parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
        merged = {key: [value for part in parts for value in part[key]] for key in parts[0]}
    else:
        _, answer = await server.post("/v1/completions", body)
        merged = answer["choices"][0]["logprobs"]
    assert merged == {
        "tokens": ["ab", " c"],
        "token_logprobs": [-9999.0, -9999.0],
        "top_logprobs": [
            {"ab0": -1.0, "ab1": -2.0, "ab": -9999.0},
            {" c0": -1.0, " c1": -2.0, " c": -9999.0},
        ],
        "text_offset": [0, 2],
    }


async def test_request_reaches_the_graph(server: Server) -> None:
    body = completion("x", model="org/describe", stop="s", temperature=0, echo=True, max_tokens=4)
    _, answer = await server.post("/v1/completions", body)
    told = json.loads(answer["choices"][0]["text"])
    assert told["prompt"] == "x"
    assert (told["stop"], told["echo"]) == (["s"], True)
    assert told["sampling"] == {"temperature": 0.0, "max_tokens": 4}


ERRORS = {
    "!invalid": (400, "invalid_request_error", None),
    "!context": (400, "invalid_request_error", "context_length_exceeded"),
    "!generation": (500, "server_error", None),
    "!bug": (500, "server_error", None),
    "!unfinished": (500, "server_error", None),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("word", ERRORS)
async def test_error_before_the_first_token(server: Server, word: str, stream: bool) -> None:
    status, answer = await server.post("/v1/chat/completions", chat(word, stream=stream))
    assert (status, answer["error"]["type"], answer["error"]["code"]) == ERRORS[word]


async def test_internals_of_a_bug_stay_inside(server: Server) -> None:
    _, answer = await server.post("/v1/chat/completions", chat("!bug"))
    assert answer["error"]["message"] == "internal error; the server's log has the details"


@pytest.mark.parametrize("word", ERRORS)
async def test_error_in_mid_stream_ends_it_without_done(server: Server, word: str) -> None:
    body = chat(f"hello {word}", stream=True)
    *chunks, last = parse_events(await server.post_text("/v1/chat/completions", body))
    assert chunks[0]["choices"][0]["delta"]["content"] == "hello"
    assert set(last) == {"error"}
    assert last["error"]["type"] == ERRORS[word][1]


async def test_error_of_one_prompt_ends_them_all(server: Server) -> None:
    body = completion(["a", "!wait", "!invalid", "!wait"])
    status, answer = await server.post("/v1/completions", body)
    assert (status, answer["error"]["message"]) == (400, "because of !invalid")
    assert server.manager.get("echo").graph.num_running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_client_that_leaves_before_the_first_token(server: Server, stream: bool) -> None:
    body = completion(["!wait", "!wait"], stream=stream)
    task = asyncio.create_task(server.post("/v1/completions", body))
    await server.until_running(2)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await server.until_running(0)
    status, _ = await server.post("/v1/completions", completion("a"))
    assert status == 200


async def test_client_that_leaves_in_mid_stream(server: Server) -> None:
    body = chat("!endless", stream=True)
    async with server.http.post("/v1/chat/completions", json=body) as response:
        assert await response.content.readline()
        assert server.manager.get("echo").graph.num_running == 1
        response.close()
    await server.until_running(0)


async def test_slow_client_holds_the_graph_back(server: Server) -> None:
    body = json.dumps(chat("!flood", stream=True)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await reader.readuntil(b"\r\n\r\n")
    calculator: Any = server.manager.get("echo").graph._nodes[0].calculator
    num_sent = -1
    async with asyncio.timeout(60):
        while num_sent != calculator.num_sent:
            num_sent = calculator.num_sent
            await asyncio.sleep(0.2)
    assert server.manager.get("echo").graph.num_running == 1
    writer.close()
    await server.until_running(0)


async def test_100_requests_at_once(server: Server) -> None:
    bodies = [chat(f"this is number {i}", stream=i % 2 == 0) for i in range(100)]

    async def ask(body: dict[str, Any]) -> str:
        text = await server.post_text("/v1/chat/completions", body)
        if not body["stream"]:
            return str(json.loads(text)["choices"][0]["message"]["content"])
        *chunks, _ = parse_events(text)
        return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)

    answers = await asyncio.gather(*(ask(body) for body in bodies))
    assert answers == [f"this is number {i}" for i in range(100)]
