"""The load generator of the benchmark demo."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web
from contender import BenchmarkError, OpenAIDialect
from llama_contender import LlamaDialect
from load_generator import Answer, read_answer, run_conversations
from sse_parser import SseParser
from workloads import Conversation, LoadSettings, Turn, find_workloads

HOST = "127.0.0.1"
DIALECT = OpenAIDialect("/v3/completions")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _event(text: str, **members: Any) -> bytes:
    payload = {"choices": [{"index": 0, "text": text, **members}]}
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def _usage_event(num_tokens: int) -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": num_tokens}
    return b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
TURN = Turn((5, 6, 7), max_tokens=2)
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def _chunked(pieces: Sequence[bytes]) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


class TestSseParser:
    @pytest.mark.parametrize("size", [1, 2, 7, 10_000])
    def test_reads_split_anywhere(self, size: int) -> None:
        # The first event spans two HTTP chunks.
        data = _chunked([b"data: on", b"e\n\ndata: two\n\n", DONE])
        parser = SseParser()
        payloads = [
            payload
            for start in range(0, len(data), size)
            for payload in parser.feed(data[start : start + size])
        ]
        assert payloads == [b"one", b"two", b"[DONE]"]
        assert parser.status == 200

    def test_answer_without_chunks(self) -> None:
        parser = SseParser()
        assert parser.feed(b"HTTP/1.0 200 OK\r\n\r\ndata: one\n\nda") == [b"one"]
        assert parser.feed(b"ta: two\n\n") == [b"two"]


class TestReadAnswer:
    def test_only_tokens_count_as_a_token_time(self) -> None:
        data = [HEAD + _event(""), _event("a"), _event("b"), _usage_event(2) + DONE]
        reads = [(100.0 + index, piece) for index, piece in enumerate(data)]
        answer = read_answer(Answer(TURN, 100.0, reads), DIALECT)
        assert (answer.token_times, answer.num_tokens) == ((101.0, 102.0), 2)

    def test_ids_without_text_are_tokens(self) -> None:
        data = HEAD + _event("", token_ids=[8, 9]) + _usage_event(2)
        answer = read_answer(Answer(TURN, 0.0, [(1.0, data)]), DIALECT)
        assert (answer.token_times, answer.token_ids) == ((1.0,), (8, 9))

    def test_tokens_without_text_show_at_the_end(self) -> None:
        data = HEAD + _event("", finish_reason="length") + _usage_event(2)
        assert read_answer(Answer(TURN, 0.0, [(1.0, data)]), DIALECT).token_times == (1.0,)

    def test_llama(self) -> None:
        events = [
            {"content": "a", "tokens": [8], "stop": False},
            {"content": "", "tokens": [9], "stop": False},
            {"content": "", "tokens": [], "stop": True, "tokens_predicted": 2},
        ]
        data = HEAD + b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events)
        answer = read_answer(Answer(TURN, 0.0, [(1.0, data)]), LlamaDialect())
        assert (answer.num_tokens, answer.token_ids) == (2, (8, 9))

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b'HTTP/1.1 404 Not Found\r\n\r\n{"error": "no such model"}', "404.*no such model"),
            (_chunked([_event("a"), DONE]), "not a complete stream"),
            (_chunked([_usage_event(2), DONE]), "not a complete stream"),
            (_chunked([b'data: {"error": {"message": "broken"}}\n\n']), "error event.*broken"),
            (_chunked([_event("a"), _usage_event(1)]), "1 tokens.*instead of 2"),
            (b"", "status None"),
        ],
    )
    def test_refuses_what_is_not_a_whole_answer(self, data: bytes, message: str) -> None:
        with pytest.raises(BenchmarkError, match=message):
            read_answer(Answer(TURN, 0.0, [(0.0, data)]), DIALECT)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[int]]]:
    """Start a server that answers completions with the given handler; returns its port."""
    runners = []

    async def start(handler: Handler) -> int:
        app = web.Application()
        app.router.add_post(DIALECT.path, handler)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        port: int = runner.addresses[0][1]
        return port

    yield start
    for runner in runners:
        await runner.cleanup()


class Recorder:
    """Answers each request with as many tokens as it asks for, and keeps the requests."""

    def __init__(self, *, num_ids: int = 1000) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._num_ids = num_ids

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for index in range(body["max_tokens"]):
            ids = {"token_ids": [900 + index]} if index < self._num_ids else {}
            await response.write(_event("a", **ids))
        await response.write(_usage_event(body["max_tokens"]))
        await response.write(DONE)
        return response


Serve = Callable[[Handler], Awaitable[int]]


class TestRunConversations:
    async def test_sends_what_exact_lengths_need(self, serve: Serve) -> None:
        recorder = Recorder()
        port = await serve(recorder.handle)
        await run_conversations(HOST, port, DIALECT, [Conversation((TURN,))])
        assert recorder.bodies == [
            {
                "model": "benchmark",
                "prompt": [5, 6, 7],
                "max_tokens": 2,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]

    async def test_each_turn_has_the_conversation_before_it(self, serve: Serve) -> None:
        recorder = Recorder()
        turns = (TURN, Turn((8,), 1), Turn((9,), 1))
        port = await serve(recorder.handle)
        timings = await run_conversations(HOST, port, DIALECT, [Conversation(turns)])
        assert [body["prompt"] for body in recorder.bodies] == [
            [5, 6, 7],
            [5, 6, 7, 900, 901, 8],
            [5, 6, 7, 900, 901, 8, 900, 9],
        ]
        assert all(body["return_token_ids"] for body in recorder.bodies)
        first, second, third = timings
        assert first.token_times_s[-1] <= second.due_s < second.token_times_s[0] <= third.due_s

    @pytest.mark.parametrize("num_ids", [0, 1])
    async def test_a_conversation_needs_the_ids_of_answers(
        self, serve: Serve, num_ids: int
    ) -> None:
        port = await serve(Recorder(num_ids=num_ids).handle)
        with pytest.raises(BenchmarkError, match=f"needs the ids.* 2 tokens; there are {num_ids}"):
            await run_conversations(HOST, port, DIALECT, [Conversation((TURN, TURN))])
        await run_conversations(HOST, port, DIALECT, [Conversation((TURN,))])

    async def test_many_at_once(self, serve: Serve) -> None:
        settings = LoadSettings(vocab_size=100, num_requests=32, length_cap=20)
        conversations = find_workloads(["W1"])[0].make_round(settings, 1)
        port = await serve(Recorder().handle)
        timings = await run_conversations(HOST, port, DIALECT, conversations)
        assert [timing.num_tokens for timing in timings] == [
            conversation.turns[0].max_tokens for conversation in conversations
        ]
        assert all(timing.token_times_s[0] > 0 for timing in timings)

    async def test_waits_for_the_arrival(self, serve: Serve) -> None:
        late = Conversation((TURN,), arrival_s=0.05, is_background=True)
        port = await serve(Recorder().handle)
        (timing,) = await run_conversations(HOST, port, DIALECT, [late])
        assert timing.due_s == pytest.approx(0.05)
        assert timing.token_times_s[0] >= 0.05
        assert timing.is_background
