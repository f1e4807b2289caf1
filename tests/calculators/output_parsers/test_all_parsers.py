"""Properties of every parser, whatever a model writes."""

import random
import re
from collections import Counter

import pytest
from support.family_templates import REASONING, TOOL_CALLS, write_calls
from support.parsing import WEATHER_TOOL, Parsed, parse, start

from calculators.output_parsers import OutputFormat
from calculators.output_parsers.registry import families

PAIRS = [
    ("hermes3", "qwen3"),
    *[
        (name if family.tool_parser else "none", name if family.reasoning_parser else "none")
        for name, family in families().items()
    ],
]
# Each @ becomes a word of its own.
FRAGMENTS = [
    *['{"name": "f", "arguments": {"a": "@"}}', '{"name":', '"arguments": ', '{"a": ', "{}", "}"],
    *["[", "]", "{", ",", ";", ":", '"', "\\", "'", "(", ")", "=", '[f(a="@")]', "call:f{a:@}"],
    *["get_weather", "<function=get_weather>", "<parameter=city>", "@</parameter>", "</function>"],
    *["analysis", "final", "commentary to=functions.get_weather", "thought\n", "functools["],
    *["<arg_key>city</arg_key>", "<arg_value>@</arg_value>", '<invoke name="f">', "</invoke>"],
    *['<parameter name="city">', "\n```json\n", "```", ">>>", "all\n", "functions.f:0", "f\n"],
    *[" ", "\n", "\n\n", " @ ", "@", "Grüße 日本 😀", "null", "1.5", "<", "|", ">", "</", "\x00"],
]
WORD = re.compile(r"w\d+z")
# What is for nobody: the heads of messages, and the ids of calls.
DROPPED = re.compile(r'<\|(?:start|channel|constrain)\|>[\w\s=.]*|"(?:tool_call_)?id": "[^"]*"')

all_pairs = pytest.mark.parametrize("parsers", PAIRS, ids="+".join)


def markers_of(parsers):
    chosen = OutputFormat(*parsers)
    readers = filter(None, (chosen.tool_parser, chosen.reasoning_parser))
    return [marker for reader in readers for marker in reader.markers]


def number_words(text):
    """Make a word of each @ that is not in the text a second time."""
    count = iter(range(len(text)))
    return re.sub("@", lambda _: f"w{next(count)}z", text)


def write_text(rng, parsers):
    """A random text of the family's markers and calls, cut anywhere."""
    tool_parser, reasoning_parser = parsers
    parts = rng.choices([*FRAGMENTS, *markers_of(parsers) * 4], k=rng.randint(1, 12))
    if tool_parser in TOOL_CALLS and rng.random() < 0.6:
        calls = [("get_weather", {"city": "@ and @", "days": 3}), ("f", {"a": ["@"]})]
        text = write_calls(tool_parser, calls[: rng.randint(1, 2)])
        # Replace some characters by random parts, or put the parts between.
        for part in parts[: rng.randint(0, 3)]:
            place = rng.randint(0, len(text))
            text = text[:place] + part + text[place + rng.choice([0, 0, 1, 5]) :]
        parts = [text]
    if reasoning_parser != "none" and rng.random() < 0.5:
        parts = ["@".join(REASONING.get(reasoning_parser, ("<think>", "</think>"))), *parts]
    text = number_words("".join(parts))
    return text[: rng.randint(0, len(text))] if rng.random() < 0.4 else text


def words_of(parsed):
    calls = "".join(f"{name} {arguments} " for name, arguments in parsed.calls)
    return Counter(WORD.findall(f"{parsed.content} {parsed.reasoning} {calls}"))


@all_pairs
def test_nothing_is_lost_nothing_invented_and_pieces_make_no_difference(parsers):
    rng = random.Random("-".join(parsers))
    for _ in range(100):
        text = write_text(rng, parsers)
        prompt = rng.choice(["", "<think>\n"])
        whole = parse([text], *parsers, prompt=prompt)
        assert parse(text, *parsers, prompt=prompt) == whole, text
        for place in rng.choices(range(len(text) + 1), k=3):
            pieces = [text[:place], text[place:]]
            assert parse(pieces, *parsers, prompt=prompt) == whole, (text, place)
        missing = Counter(WORD.findall(text))
        missing.subtract(words_of(whole))
        if {"gptoss", "cohere", "mistral"} & {*parsers}:
            missing -= Counter(WORD.findall(" ".join(DROPPED.findall(text))))
        assert not +missing, (text, whole)
        assert not -missing, (text, whole)


@all_pairs
@pytest.mark.parametrize("text", ["", " ", "\n", "Hello", "Hello\n\n  world. \n", "日本 😀"])
def test_a_plain_text_stays_as_it_is(parsers, text):
    assert parse(text, *parsers) == Parsed(text)


@all_pairs
def test_a_plain_text_is_shown_as_it_comes(parsers):
    output, parser = start(*parsers)
    for piece in ("Hello", " world", ", 1", " < 2."):
        parser.feed(piece)
        assert output.take().content == piece


@pytest.mark.parametrize("family", TOOL_CALLS)
def test_the_deltas_of_a_call_are_those_of_openai(family):
    """The index with every piece, id and name once, then pieces of the arguments."""
    calls = [("get_weather", {"city": "Paris", "days": 3}), ("f", {})]
    reasoning_parser = "gptoss" if family == "gptoss" else "none"
    output, parser = start(family, reasoning_parser, tools=(WEATHER_TOOL,))
    deltas = []
    for character in write_calls(family, calls):
        parser.feed(character)
        deltas += output.take().tool_calls
    parser.finish()
    deltas += output.take().tool_calls
    first = [delta for delta in deltas if delta.id is not None]
    assert [(delta.index, delta.name) for delta in first] == [(0, "get_weather"), (1, "f")]
    assert [delta.index for delta in deltas] == sorted(delta.index for delta in deltas)
    for delta in deltas:
        assert (delta.id is None) == (delta.name is None)
        assert delta.id is not None or delta.arguments


@pytest.mark.parametrize("family", TOOL_CALLS)
@pytest.mark.parametrize(
    "arguments", [{"city": "word, 'x' {y} \\ \n<z> " * 500}, {"places": ["a, b"] * 1000}]
)
def test_a_long_argument_is_read_once(family, arguments):
    """What a parser has read leaves its buffer, or each token would cost more than the last."""
    _, parser = start(family, "gptoss" if family == "gptoss" else "none")
    text = write_calls(family, [("get_weather", arguments)])
    for place in range(0, len(text), 5):
        parser.feed(text[place : place + 5])
        assert len(parser._text) < 100
