"""Small calculators in place of a model, and the files of a repository that uses them."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from server.errors import ContextLengthError, GenerationError, InvalidRequestError
from server.graph import Calculator, Contract, OpenContext, OutputStream, ProcessContext, Tag
from server.payloads import (
    FinishReason,
    GenerationRequest,
    HttpRequestPayload,
    HttpResponsePayload,
    ModelLimits,
    TextChunk,
    TextTokenizer,
    TokenizerInfo,
    TokenLogprobs,
    ToolCallDelta,
)

REQUEST = Tag("GENERATION_REQUEST", GenerationRequest)
TEXT = Tag("TEXT", TextChunk)
TOKENIZER = Tag("TOKENIZER", TextTokenizer, optional=True)  # type: ignore[type-abstract]
LIMITS = Tag("LIMITS", ModelLimits, optional=True)
RAW_REQUEST = Tag("HTTP_REQUEST_PAYLOAD", HttpRequestPayload)
RAW_RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", HttpResponsePayload)

ERRORS: Mapping[str, type[Exception]] = {
    "!invalid": InvalidRequestError,
    "!context": ContextLengthError,
    "!generation": GenerationError,
    "!bug": KeyError,
}


@dataclass
class EchoOptions:
    """How the fake loads."""

    open_s: float = 0.0
    fail: str = ""
    sick_file: str = ""
    models_path: str = ""
    hold_mb: int = 0


class EchoCalculator(Calculator[EchoOptions]):
    """Repeats the last message or the prompt, a word at a time.

    A word that starts with ! makes something happen there: an error of ERRORS, `!endless` (goes on
    until it is stopped), `!flood` (the same, fast and with much text), `!wait` (sends nothing until
    it is stopped), `!unfinished` (ends there), `!pause`.
    """

    contract = Contract(inputs=(REQUEST,), outputs=(TEXT,))

    def open(self, cc: OpenContext) -> None:
        self.num_sent = 0
        options = self.options
        time.sleep(options.open_s)
        self.held = b"x" * (options.hold_mb << 20)
        if options.fail:
            raise ValueError(options.fail)
        self.sick_file = cc.base_path / options.sick_file if options.sick_file else None
        if options.models_path:
            cc.resolve(options.models_path)

    def health(self) -> str | None:
        return "it is sick" if self.sick_file is not None and self.sick_file.exists() else None

    async def process(self, cc: ProcessContext) -> None:
        output = cc.output(TEXT)
        async for request in cc.input(REQUEST):
            text = _text_of(request)
            words = [word if i == 0 else f" {word}" for i, word in enumerate(text.split(" "))]
            limit = request.sampling.get("max_tokens", len(words))
            for num, word in enumerate(words[:limit], 1):
                is_last = num == min(limit, len(words))
                reason: FinishReason = "length" if limit < len(words) else "stop"
                if word == "!flood":
                    await self._flood(output)
                if await _happens(word.strip(), output, len(words)):
                    return
                for index in range(request.sampling.get("n", 1)):
                    await output.send(
                        TextChunk(
                            index=index,
                            text=word,
                            num_prompt_tokens=len(words),
                            num_completion_tokens=num,
                            num_cached_tokens=1,
                            logprobs=_logprobs(
                                word,
                                request.sampling.get("logprobs"),
                                sum(map(len, words[: num - 1])),
                            ),
                            finish_reason=reason if is_last else None,
                        )
                    )

    async def _flood(self, output: OutputStream[TextChunk]) -> None:
        while True:
            await output.send(TextChunk(0, "x" * 2**16, 1, self.num_sent))
            self.num_sent += 1


async def _happens(word: str, output: OutputStream[TextChunk], num_prompt_tokens: int) -> bool:
    """Obey a !word; returns whether the answer ends there."""
    if word in ERRORS:
        raise ERRORS[word](f"because of {word}")
    if word == "!pause":
        await asyncio.sleep(0.5)
    if word == "!wait":
        await asyncio.Event().wait()
    count = 0
    while word == "!endless":
        count += 1
        await output.send(TextChunk(0, "again ", num_prompt_tokens, count))
        await asyncio.sleep(0.001)
    return word == "!unfinished"


def _text_of(request: GenerationRequest) -> str:
    if request.messages is not None:
        return str(request.messages[-1]["content"])
    if isinstance(request.prompt, tuple):
        return " ".join(str(token_id) for token_id in request.prompt)
    assert request.prompt is not None
    return request.prompt


def _logprobs(word: str, num_top: int | None, text_offset: int) -> tuple[TokenLogprobs, ...] | None:
    if num_top is None:
        return None
    tops = [TokenLogprobs(f"{word}{i}", f"{word}{i}".encode(), -1.0 - i) for i in range(num_top)]
    return (TokenLogprobs(word, word.encode(), float("-inf"), tuple(tops), text_offset),)


class DescribeCalculator(Calculator):
    """Answers with the request that reached the graph, as JSON."""

    contract = Contract(inputs=(REQUEST,), outputs=(TEXT,))

    async def process(self, cc: ProcessContext) -> None:
        async for request in cc.input(REQUEST):
            told = {
                "messages": request.messages,
                "prompt": request.prompt,
                "tools": request.tools,
                "chat_template_kwargs": request.chat_template_kwargs,
                "sampling": request.sampling,
                "stop": request.stop,
                "echo": request.echo,
                "cache_salt": request.cache_salt,
            }
            text = json.dumps(told)
            for index in range(request.sampling.get("n", 1)):
                await cc.output(TEXT).send(TextChunk(index, text, 1, 1, finish_reason="stop"))


class ParsedCalculator(Calculator):
    """Thinks, says something and calls two tools, as an output parser hands it on; max_tokens cuts
    it off.
    """

    contract = Contract(inputs=(REQUEST,), outputs=(TEXT,))
    PIECES: tuple[Mapping[str, Any], ...] = (
        {"text": ""},
        {"reasoning": "I "},
        {"reasoning": "think"},
        {"text": "Let me"},
        {"text": " look"},
        {"tool_calls": (ToolCallDelta(0, "call_a", "f", ""),)},
        {"tool_calls": (ToolCallDelta(0, None, None, '{"x":'),)},
        {
            "tool_calls": (
                ToolCallDelta(0, None, None, " 1}"),
                ToolCallDelta(1, "call_b", "g", "{}"),
            )
        },
    )

    async def process(self, cc: ProcessContext) -> None:
        async for request in cc.input(REQUEST):
            limit = request.sampling.get("max_tokens", len(self.PIECES))
            for num, piece in enumerate(self.PIECES[:limit], 1):
                chunk = TextChunk(0, "", 1, num, token_ids=(num,))
                reason: FinishReason = "length" if limit < len(self.PIECES) else "tool_calls"
                finish_reason = reason if num == min(limit, len(self.PIECES)) else None
                fields = {**piece, "finish_reason": finish_reason}
                if "logprobs" in request.sampling:
                    fields["logprobs"] = _logprobs(f"t{num}", 0, num)
                await cc.output(TEXT).send(replace(chunk, **fields))


class LetterTokenizer:
    """A token is a character; 1 begins a text, 0 is for padding."""

    def info(self) -> TokenizerInfo:
        return TokenizerInfo(1000, {"bos_token": "^"}, "Letters", 0, "a template")

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        return (1,) * add_special_tokens + tuple(map(ord, text))

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        return "".join(
            ["" if skip_special_tokens and i == 1 else s for i, s in self._spell(token_ids)]
        )

    def spell(self, token_ids: Iterable[int]) -> list[str]:
        return [letter for _, letter in self._spell(token_ids)]

    def render_chat(self, messages: Any, tools: Any, template_kwargs: Any, options: Any) -> str:
        given = {
            field.name: getattr(options, field.name)
            for field in fields(options)
            if getattr(options, field.name) != field.default
        }
        return json.dumps([messages, tools, {**given, **template_kwargs}])

    def _spell(self, token_ids: Iterable[int]) -> list[tuple[int, str]]:
        return [(i, "^" if i == 1 else chr(i)) for i in token_ids]


class TokenizingCalculator(DescribeCalculator):
    """Offers a tokenizer and a limit as side packets."""

    contract = Contract(inputs=(REQUEST,), outputs=(TEXT,), output_side_packets=(TOKENIZER, LIMITS))

    def open(self, cc: OpenContext) -> None:
        cc.set_side_packet(TOKENIZER, LetterTokenizer())
        cc.set_side_packet(LIMITS, ModelLimits(77))


class RawCalculator(Calculator):
    """Answers raw HTTP: the body says how, else what came is described."""

    contract = Contract(inputs=(RAW_REQUEST,), outputs=(RAW_RESPONSE,))

    async def process(self, cc: ProcessContext) -> None:
        output = cc.output(RAW_RESPONSE)
        async for request in cc.input(RAW_REQUEST):
            if b"silent" in request.body:
                return
            if b"pieces" in request.body:
                for i in range(3):
                    await output.send(HttpResponsePayload(b"%d\n" % i, 202, "text/plain"))
                if b"then fail" in request.body:
                    raise GenerationError("in the middle")
                if b"then wait" in request.body:
                    await asyncio.Event().wait()
                return
            if b"fail" in request.body:
                raise InvalidRequestError("the graph does not like it")
            told = {
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "test_header": request.headers.get("x-test"),
                "body": request.body.decode("latin-1"),
            }
            await output.send(HttpResponsePayload(json.dumps(told).encode()))


TEXT_GRAPH = """
input_stream: "GENERATION_REQUEST:request"
output_stream: "TEXT:text"
node {{
  name: "Fake" calculator: "./fakes.py:{calculator}"
  input_stream: "GENERATION_REQUEST:request" output_stream: "TEXT:text"
  {options}
}}
"""
RAW_GRAPH = """
input_stream: "HTTP_REQUEST_PAYLOAD:request"
output_stream: "HTTP_RESPONSE_PAYLOAD:response"
node {
  name: "Raw" calculator: "./fakes.py:RawCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:request" output_stream: "HTTP_RESPONSE_PAYLOAD:response"
}
"""


def echo_graph(**options: Any) -> str:
    """graph.pbtxt of an EchoCalculator."""
    fields = " ".join(f"{name}: {json.dumps(value)}" for name, value in options.items())
    url = "type.googleapis.com/EchoOptions"
    node_options = f"node_options: {{[{url}]: {{{fields}}}}}" if options else ""
    return TEXT_GRAPH.format(calculator="EchoCalculator", options=node_options)


def describe_graph() -> str:
    """graph.pbtxt of a DescribeCalculator."""
    return TEXT_GRAPH.format(calculator="DescribeCalculator", options="")


def tokenizing_graph() -> str:
    """graph.pbtxt of a TokenizingCalculator."""
    return TEXT_GRAPH.format(calculator="TokenizingCalculator", options="")


def parsed_graph() -> str:
    """graph.pbtxt of a ParsedCalculator."""
    return TEXT_GRAPH.format(calculator="ParsedCalculator", options="")


def write_graph(folder: Path, graph: str) -> Path:
    """A model folder with a graph of these fakes; returns graph.pbtxt."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(__file__, folder / "fakes.py")
    (folder / "graph.pbtxt").write_text(graph)
    return folder / "graph.pbtxt"


def write_repository(folder: Path, graphs: Mapping[str, str]) -> Path:
    """A config.json with a model folder for each graph; returns config.json."""
    for name, graph in graphs.items():
        write_graph(folder / name, graph)
    entries = [{"config": {"name": name, "base_path": name}} for name in graphs]
    config = folder / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    return config


def parse_events(body: str) -> Iterator[Any]:
    """The JSON of each server-sent event, or its text where it is not JSON."""
    for event in body.removesuffix("\n\n").split("\n\n"):
        assert event.startswith("data: "), event
        data = event.removeprefix("data: ")
        yield data if data == "[DONE]" else json.loads(data)
