"""Properties of every parser, whatever a model writes."""

import random

import pytest
from support.parsing import parse, start

from calculators.output_parsers import OutputFormat, parser_names

PAIRS = [
    *[(name, "none") for name in parser_names("tool_parser") if name != "gptoss"],
    *[("none", name) for name in parser_names("reasoning_parser") if name != "gptoss"],
    ("hermes3", "qwen3"),
    ("gemma4", "gemma4"),
    ("gptoss", "gptoss"),
]
FRAGMENTS = [
    *['{"name": "f", "arguments": {"a": 1}}', '{"name":', '"arguments": ', '{"a": ', "{}", "}"],
    *["[", "]", "{", ",", ";", ":", '"', "\\", "'", "(", ")", "=", "[f(a=1)]", "call:f{a:1}"],
    *["get_weather", "<function=get_weather>", "<parameter=city>", "</parameter>", "</function>"],
    *["analysis", "final", "commentary to=functions.get_weather", "thought\n", "functools["],
    *[" ", "\n", "\n\n", "text", "Grüße 日本 😀", "null", "1.5", "<", "|", ">", "</", "\x00"],
]


@pytest.mark.parametrize("parsers", PAIRS, ids="+".join)
def test_pieces_make_no_difference(parsers):
    chosen = OutputFormat(*parsers)
    readers = filter(None, (chosen.tool_parser, chosen.reasoning_parser))
    markers = [marker for reader in readers for marker in reader.markers]
    rng = random.Random("-".join(parsers))
    for _ in range(400):
        fragments = rng.choices([*FRAGMENTS, *markers * 4], k=rng.randint(1, 14))
        text = "".join(fragments)
        prompt = rng.choice(["", "<think>\n"])
        whole = parse([text], *parsers, prompt=prompt)
        assert parse(fragments, *parsers, prompt=prompt) == whole, text
        assert parse(text, *parsers, prompt=prompt) == whole, text


@pytest.mark.parametrize("parsers", PAIRS, ids="+".join)
@pytest.mark.parametrize("text", ["", " ", "\n", "Hello", "Hello\n\n  world. \n", "日本 😀"])
def test_a_plain_text_stays_as_it_is(parsers, text):
    parsed = parse(text, *parsers)
    assert (parsed.content, parsed.reasoning, parsed.calls) == (text, "", [])


@pytest.mark.parametrize("parsers", PAIRS, ids="+".join)
def test_a_plain_text_is_shown_as_it_comes(parsers):
    output, parser = start(*parsers)
    for piece in ("Hello", " world", ", 1", " < 2."):
        parser.feed(piece)
        assert output.take().content == piece
