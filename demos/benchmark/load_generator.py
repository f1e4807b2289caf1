"""A load generator that costs next to nothing while it measures; the same for every contender.

It shares the processor with the contender, so during a request it only keeps what arrives together
with the time; HTTP, SSE and JSON are looked at when the round is over, or, in a conversation, when
the answer is needed for the next turn.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from contender import BenchmarkError, Dialect
from sse_parser import SseParser
from workloads import Conversation, Turn

# Bytes of one read and the time.perf_counter() value at which they were there.
Read = tuple[float, bytes]


@dataclass(frozen=True)
class RequestTiming:
    """When the tokens of one request came; all times are seconds from the start of the round.

    `due_s` is when it was to be sent. `token_times_s` has one entry for each arrival of tokens,
    which may bring several.
    """

    due_s: float
    token_times_s: tuple[float, ...]
    num_tokens: int
    is_background: bool = False


@dataclass(frozen=True)
class Answer:
    """The raw bytes that a connection received. Times are of time.perf_counter()."""

    turn: Turn
    due: float
    reads: list[Read]


class _Connection(asyncio.Protocol):
    """One request on a connection of its own; the server closes it after the answer."""

    def __init__(self, request: bytes) -> None:
        self.reads: list[Read] = []
        self.is_closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.reads.append((time.perf_counter(), data))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_closed.done():
            return
        if exc is None:
            self.is_closed.set_result(None)
        else:
            self.is_closed.set_exception(exc)


class LoadGenerator:
    """Sends requests to one address in one dialect."""

    def __init__(self, host: str, port: int, dialect: Dialect) -> None:
        self._host = host
        self._port = port
        self._dialect = dialect

    async def converse(
        self, conversation: Conversation, start: float, first_message: bytes
    ) -> list[Answer]:
        """Hold a conversation; each turn is due when the answer before it is complete."""
        prompt: tuple[int, ...] = ()
        answers: list[Answer] = []
        due = start + conversation.arrival_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        for turn in conversation.turns:
            if answers:
                prompt += (*self._read_token_ids(answers[-1]), *turn.token_ids)
                message = self.render(prompt, turn.max_tokens, has_ids=True)
            else:
                prompt = turn.token_ids
                message = first_message
            answers.append(Answer(turn, due, await self._send(message)))
            due = time.perf_counter()
        return answers

    def render_first(self, conversation: Conversation) -> bytes:
        """The first message of a conversation."""
        turn = conversation.turns[0]
        has_ids = len(conversation.turns) > 1
        return self.render(turn.token_ids, turn.max_tokens, has_ids=has_ids)

    def render(self, prompt: Sequence[int], max_tokens: int, *, has_ids: bool) -> bytes:
        """A whole HTTP request."""
        body = json.dumps(self._dialect.body(prompt, max_tokens, has_ids=has_ids)).encode()
        head = (
            f"POST {self._dialect.path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body

    def _read_token_ids(self, answer: Answer) -> tuple[int, ...]:
        read = read_answer(answer, self._dialect)
        if len(read.token_ids) != read.num_tokens:
            raise BenchmarkError(
                f"{self._dialect.path}: the next turn needs the ids of the answer's "
                f"{read.num_tokens} tokens; there are {len(read.token_ids)}"
            )
        return read.token_ids

    async def _send(self, message: bytes) -> list[Read]:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(
            lambda: _Connection(message), self._host, self._port
        )
        try:
            await connection.is_closed
        finally:
            transport.close()
        return connection.reads


@dataclass(frozen=True)
class ReadAnswer:
    """An answer understood."""

    token_times: tuple[float, ...]
    num_tokens: int
    token_ids: tuple[int, ...]


async def run_conversations(
    host: str, port: int, dialect: Dialect, conversations: Sequence[Conversation]
) -> list[RequestTiming]:
    """Hold all conversations; return the timing of every turn when the last answer is complete.

    Raises OSError if a connection fails and BenchmarkError if an answer is not what was asked for.
    """
    generator = LoadGenerator(host, port, dialect)
    messages = [generator.render_first(conversation) for conversation in conversations]
    start = time.perf_counter()
    # A TaskGroup would put the error into a group.
    tasks = [
        asyncio.create_task(generator.converse(conversation, start, message))
        for conversation, message in zip(conversations, messages, strict=True)
    ]
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [
        _time_answer(answer, dialect, start, is_background=conversation.is_background)
        for conversation, of_conversation in zip(conversations, answers, strict=True)
        for answer in of_conversation
    ]


def _time_answer(
    answer: Answer, dialect: Dialect, start: float, *, is_background: bool
) -> RequestTiming:
    read = read_answer(answer, dialect)
    token_times_s = tuple(token_time - start for token_time in read.token_times)
    return RequestTiming(answer.due - start, token_times_s, read.num_tokens, is_background)


def read_answer(answer: Answer, dialect: Dialect) -> ReadAnswer:
    """Understand what one connection received.

    Raises BenchmarkError for an HTTP error, an error event, and an answer that is not whole.
    """
    parser = SseParser()
    token_times: list[float] = []
    token_ids: list[int] = []
    num_tokens = None
    for read_time, data in answer.reads:
        for payload in parser.feed(data):
            if payload == b"[DONE]":
                continue
            piece = dialect.read(json.loads(payload))
            if piece.has_output:
                token_times.append(read_time)
            token_ids.extend(piece.token_ids)
            num_tokens = piece.num_tokens if piece.num_tokens is not None else num_tokens
    if parser.status != 200 or num_tokens is None or not token_times:
        raise BenchmarkError(
            f"{dialect.path}: HTTP status {parser.status} and not a complete stream with tokens "
            f"and their number: ...{parser.body[-500:].decode(errors='replace')}"
        )
    _check_num_tokens(answer.turn, num_tokens)
    return ReadAnswer(tuple(token_times), num_tokens, tuple(token_ids))


def _check_num_tokens(turn: Turn, num_tokens: int) -> None:
    if num_tokens != turn.max_tokens:
        raise BenchmarkError(
            f"an answer has {num_tokens} tokens instead of {turn.max_tokens}; is ignore_eos "
            f"obeyed, and does a prompt that ends in {len(turn.token_ids)} new tokens leave room "
            "in the model's context?"
        )
