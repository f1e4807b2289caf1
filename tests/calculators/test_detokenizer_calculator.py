from dataclasses import replace

import pytest

from calculators.detokenizer_calculator import DetokenizerCalculator
from calculators.output_parsers import OutputFormat
from calculators.text.tokenizer import Tokenizer
from server.graph.testing import CalculatorRunner
from server.payloads import GenerationRequest, TokenChunk, TokenIdLogprobs, TokenizedPrompt


@pytest.fixture(scope="module")
def tokenizer(byte_level):
    return Tokenizer(byte_level.path)


@pytest.fixture
def runner(tokenizer):
    runner = CalculatorRunner(DetokenizerCalculator, side_packets={"TOKENIZER": tokenizer})
    runner.open()
    yield runner
    runner.close()


class Request:
    """A request and the chunks of its choices; notes which choices were stopped."""

    def __init__(self, tokenizer, **fields):
        self.tokenizer = tokenizer
        fields.setdefault("prompt", "The")
        request = GenerationRequest("request", **fields)
        text = request.prompt if isinstance(request.prompt, str) else None
        ids = request.prompt if text is None else tokenizer.encode(text, True)
        self.prompt = TokenizedPrompt(request, ids, text)
        self.stopped = []

    def chunks(self, text, index=0, finish_reason="stop"):
        """Return one chunk per token of the text, the last one with the reason."""
        ids = [*self.tokenizer.encode(text, False), 2]
        reasons = [None] * (len(ids) - 1) + [finish_reason]
        return [
            TokenChunk(
                self.prompt, index, (i,), lambda: self.stopped.append(index), finish_reason=reason
            )
            for i, reason in zip(ids, reasons, strict=True)
        ]


async def run(runner, chunks):
    return (await runner.run({"TOKENS": chunks}))["TEXT"]


def texts_by_choice(texts):
    return {
        index: "".join(text.text for text in texts if text.index == index)
        for index in {text.index for text in texts}
    }


@pytest.mark.parametrize("text", ["Hello world", "Grüße 日本語 👩‍👩‍👧 हिन्दी", ""])
async def test_tokens_become_the_text_they_came_from(runner, tokenizer, text):
    request = Request(tokenizer)
    texts = await run(runner, request.chunks(text))
    assert "".join(chunk.text for chunk in texts) == text
    assert [chunk.finish_reason for chunk in texts if chunk.finish_reason] == ["stop"]
    assert all(chunk.text for chunk in texts[:-1])
    assert "\ufffd" not in text


async def test_choices_are_decoded_apart(runner, tokenizer):
    request = Request(tokenizer, sampling={"n": 2})
    pairs = zip(request.chunks("日本語", 0), request.chunks("한국어", 1), strict=False)
    chunks = [chunk for pair in pairs for chunk in pair]
    texts = await run(runner, chunks)
    assert texts_by_choice(texts) == {0: "日本語", 1: "한국어"}


async def test_a_stop_string_stops_its_choice_alone(runner, tokenizer):
    request = Request(tokenizer, sampling={"n": 2}, stop=("b",))
    chunks = [*request.chunks("abc", 0), *request.chunks("xyz", 1)]
    texts = await run(runner, chunks)
    assert texts_by_choice(texts) == {0: "a", 1: "xyz"}
    assert [text.stop_reason for text in texts if text.finish_reason] == ["b", None]
    assert request.stopped == [0]


async def test_the_stream_of_tokens_is_left_when_every_choice_is_finished(runner, tokenizer):
    request = Request(tokenizer, stop=("b",))
    texts = await run(runner, request.chunks("abc" * 10))
    assert [text.finish_reason for text in texts] == [None, "stop"]
    assert request.stopped == [0]


@pytest.mark.parametrize("prompt", ["The quick", (2, 55, 56, 57)])
async def test_echo_puts_the_prompt_in_front_of_each_choice(runner, tokenizer, prompt):
    request = Request(tokenizer, prompt=prompt, echo=True, sampling={"n": 2})
    texts = await run(runner, [*request.chunks(" fox", 0), *request.chunks(" dog", 1)])
    shown = prompt if isinstance(prompt, str) else tokenizer.decode(prompt)
    assert texts_by_choice(texts) == {0: f"{shown} fox", 1: f"{shown} dog"}


async def test_special_tokens_are_shown_where_asked_for(runner, tokenizer):
    for skips, text in ((True, "Hi"), (False, "<|im_start|>Hi")):
        request = Request(tokenizer, skip_special_tokens=skips)
        texts = await run(runner, request.chunks("<|im_start|>Hi"))
        assert "".join(chunk.text for chunk in texts) == text
    request = Request(tokenizer, prompt=(1, 2), echo=True, skip_special_tokens=False)
    texts = await run(runner, request.chunks("Hi"))
    assert "".join(chunk.text for chunk in texts) == "<|im_start|><|im_end|>Hi"


async def test_what_the_request_says_of_stops_reaches_its_choices(runner, tokenizer):
    request = Request(tokenizer, stop=("b",), include_stop_str_in_output=True)
    assert texts_by_choice(await run(runner, request.chunks("abc"))) == {0: "ab"}
    request = Request(tokenizer, stop=("b",), sampling={"min_tokens": 2})
    assert texts_by_choice(await run(runner, request.chunks("abcbd"))) == {0: "abc"}


async def test_the_best_choices_come_out_when_all_are_finished(runner, tokenizer):
    request = Request(tokenizer, sampling={"n": 1}, stop=("!",))
    chunks = []
    for index, (text, logprob) in enumerate([("one!two", -2.0), ("three", -1.0), ("four", -3.0)]):
        for chunk in request.chunks(text, index):
            entries = tuple(TokenIdLogprobs(t, logprob) for t in chunk.token_ids)
            chunks.append(replace(chunk, logprobs=entries, num_choices=3))
    texts = await run(runner, chunks)
    assert texts_by_choice(texts) == {0: "three"}
    assert {text.logprobs for text in texts} == {None}
    assert request.stopped == [0]


async def test_log_probabilities_of_the_prompt_come_with_each_choice(runner, tokenizer):
    request = Request(tokenizer, prompt="The fox", echo=True, sampling={"n": 2})
    ids = request.prompt.token_ids
    entries = tuple(TokenIdLogprobs(token_id, -0.5) for token_id in ids[1:])
    chunks = [
        replace(chunk, prompt_logprobs=entries if position == 0 else None)
        for index in range(2)
        for position, chunk in enumerate(request.chunks("!", index))
    ]
    texts = await run(runner, chunks)
    for index in range(2):
        first, *rest = [text for text in texts if text.index == index]
        described = list(first.prompt_logprobs)
        assert [entry.token_id for entry in described] == list(ids)
        assert described[0].logprob is None
        assert "".join(entry.token for entry in described) == "The fox"
        assert [text.prompt_logprobs for text in rest] == [None] * len(rest)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"messages": ({},), "tools": ({},)}, "[TOOL_CALLS]f[ARGS]{}"),
        ({"messages": ({},)}, "f{}"),
        ({"prompt": "The", "tools": ({},)}, "f{}"),
    ],
)
async def test_markers_stay_in_the_text_where_they_are_looked_for(mistral, fields, shown):
    tokenizer = Tokenizer(mistral.path)
    output_format = OutputFormat.choose("mistral", "none", "")
    side_packets = {"TOKENIZER": tokenizer, "OUTPUT_FORMAT": output_format}
    runner = CalculatorRunner(DetokenizerCalculator, side_packets=side_packets)
    runner.open()
    prompt = TokenizedPrompt(GenerationRequest("request", **fields), (1,), "The")
    ids = tokenizer.encode("[TOOL_CALLS]f[ARGS]{}[OTHER]", False)
    chunks = [TokenChunk(prompt, 0, (i,), lambda: None) for i in ids]
    chunks.append(TokenChunk(prompt, 0, (2,), lambda: None, finish_reason="stop"))
    texts = await run(runner, chunks)
    assert "".join(text.text for text in texts) == shown
