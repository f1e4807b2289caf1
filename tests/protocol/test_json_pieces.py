"""Large JSON in pieces: the same values and errors as from Python's own parser, without stalls."""

import gc
import json
import random
import threading
import time
from typing import Any

import pytest

from server.errors import InvalidRequestError
from server.protocol import json_pieces
from server.protocol.json_body import check_num_values, parse_json_object
from server.protocol.json_pieces import JsonLimits, PieceError, parse_in_pieces

LIMITS = JsonLimits(depth=100, marks=10**6, commas=10**6)
SCALARS = [
    1,
    -2.5e3,
    None,
    True,
    "",
    'a,b"]}[{:',
    "\\",
    'x\\"',
    "\n\t",
    "\u00e9\U0001f600",
    "long " * 20,
    "\\\\\\",
]
NAMES = ["", "a", "b", 'k"', "c:", "[", "\\", "\u00e9"]


def random_value(chance: random.Random, depth: int) -> Any:
    kind = chance.random()
    if depth > 4 or kind < 0.5:
        return chance.choice(SCALARS)
    if kind < 0.75:
        return [random_value(chance, depth + 1) for _ in range(chance.randint(0, 6))]
    return {name: random_value(chance, depth + 1) for name in chance.sample(NAMES, 3)}


def damage(chance: random.Random, text: bytes) -> bytes:
    at = chance.randrange(len(text))
    return chance.choice(
        [
            text[:at],
            text[:at] + text[at + 1 :],
            text[:at] + bytes([chance.choice(b',:[]{}"\\1 ')]) + text[at:],
            text + text[at:],
        ]
    )


def outcome(parse: Any, text: bytes) -> str:
    """The value as JSON, which tells 1 from true and shows the order; None for an error."""
    try:
        return json.dumps(parse(text))
    except ValueError:
        return "an error"


@pytest.mark.parametrize("block_bytes", [1, 7, 40, 200])
def test_values_and_errors_are_those_of_the_whole(
    block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_pieces, "BLOCK_BYTES", block_bytes)
    chance = random.Random(block_bytes)
    for number in range(60):
        monkeypatch.setattr(json_pieces, "LARGE_PIECE_BYTES", chance.choice([20, 10**6]))
        value = {"m": random_value(chance, 0), "z": [random_value(chance, 0)], "a": {"b": [1]}}
        document = json.dumps(value, ensure_ascii=number % 2 == 0, indent=number % 3 or None)
        # Some names are there twice.
        text = document.replace('"b"', '"a"').encode()
        for sent in (text, damage(chance, text)):
            found = outcome(lambda text: parse_in_pieces(text, json.loads, LIMITS), sent)
            assert found == outcome(json.loads, sent), sent


@pytest.mark.parametrize(
    ("text", "position"),
    [(b'{"a": [1, 2, x]}', 13), (b'{"a": [, 1]}', 7), (b'{"a": 1}, 2', 8), (b'{"a": "\xff"}', 7)],
)
def test_errors_say_where(text: bytes, position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "BLOCK_BYTES", 4)
    with pytest.raises(PieceError) as error:
        parse_in_pieces(text, json.loads, LIMITS)
    assert abs(error.value.position - position) <= 1


PADDING = b'"a": "' + b"x" * 70_000 + b'", '


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"{" + PADDING + b'"b": NaN}', "NaN is no JSON number"),
        (b"{" + PADDING + b'"b": "\\ud800"}', "without its other half"),
        (b"{" + PADDING + b'"b": ' + b"9" * 5000 + b"}", "too many digits"),
        (b"{" + PADDING + b'"b": ' + b"[" * 100 + b"]" * 100 + b"}", "deeper than 100"),
        (b'{"b": 1' + b" " * 2_000_000 + b"}", "bytes of white space or of a number"),
        (b'{"b": "' + b"\\n" * 9_000_000 + b'"}', "longer than 16777216 bytes"),
        (b"[" + PADDING[5:] + b"1]", "must be a JSON object, found a list"),
        (b" " * 70_000, "no body"),
    ],
    ids=lambda value: str(value[-20:]),
)
def test_what_a_large_body_cannot_hold(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        parse_json_object(body)
    assert problem in str(error.value)


def test_a_long_string_of_base64() -> None:
    text = "QUJD" * 5_000_000
    assert parse_json_object(b'{"a": ["' + text.encode() + b'"], "b": 1}') == {"a": [text], "b": 1}


def test_other_threads_run_meanwhile() -> None:
    # Parsed in one piece, these keep the interpreter for a second.
    body = b'{"a": [' + b'{"b": [1.5, "c"]},' * 190_000 + b"1]}"
    longest_s = 0.0
    has_ended = threading.Event()

    def watch() -> None:
        nonlocal longest_s
        while not has_ended.is_set():
            # The time of this thread's sleep, without what other processes take of it.
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            time.sleep(0.001)
            busy_s = time.process_time() - start_cpu_s
            longest_s = max(longest_s, min(busy_s, time.perf_counter() - start_s))

    watcher = threading.Thread(target=watch)
    watcher.start()
    # A server begins no full collection of garbage meanwhile either.
    gc.disable()
    try:
        parse_json_object(body)
    finally:
        gc.enable()
        has_ended.set()
        watcher.join()
    assert longest_s < 0.15


def test_values_that_an_endpoint_has_to_check() -> None:
    check_num_values({"prompt": [[1] * 1000] * 1200, "texts": ["a"] * 2048})
    for fields in ({"a": [{}] * 50_001}, {"a": [1] * 1_300_000}, {"a": [1, "b"] * 30_000}):
        with pytest.raises(InvalidRequestError, match="the body holds more than"):
            check_num_values(fields)
