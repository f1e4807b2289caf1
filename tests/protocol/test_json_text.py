"""JSON in pieces."""

import json
from collections.abc import Iterator

import pytest

from server.protocol.json_text import PIECE_CHARACTERS, JsonItems, json_pieces, json_text

VALUES = [
    None,
    True,
    1.5,
    "",
    "a\u2028\U0001f600" * 50_000,
    [],
    {},
    [1, 2.5, None, True],
    list(range(5000)),
    ["x", None, "y" * 200_000],
    [[1], [], {"a": {"b": "c"}}],
    {"a": [{"b": 1}] * 100, 'quo"te': ("t", "u")},
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_the_pieces_are_the_json_of_the_value(value: object) -> None:
    expected = json.dumps(value, separators=(",", ":"))
    assert b"".join(json_pieces(value)).decode() == expected
    assert json_text(value) == expected


@pytest.mark.parametrize(
    "value",
    ["x" * 2_000_000, list(range(500_000)), ["word"] * 500_000, [{"a": "b" * 100}] * 20_000],
)
def test_no_piece_is_large(value: object) -> None:
    assert max(map(len, json_pieces(value))) < 3 * PIECE_CHARACTERS


def test_an_iterator_is_a_list_whose_items_are_made_when_they_are_written() -> None:
    num_made = 0

    def items() -> Iterator[dict[str, str]]:
        nonlocal num_made
        for _ in range(10_000):
            num_made += 1
            yield {"a": "b" * 100}

    pieces = json_pieces({"items": items()})
    first = next(pieces)
    assert num_made < 1000
    assert len(json.loads(first + b"".join(pieces))["items"]) == 10_000


def test_items_are_kept_as_json() -> None:
    items = JsonItems()
    assert items.add([]) == ""
    assert items.add([{"a": 1}, None]) == '{"a":1},null'
    items.add(iter(range(40)))
    assert json.loads(json_text({"list": items})) == {"list": [{"a": 1}, None, *range(40)]}
    assert json_text([JsonItems()]) == "[[]]"


def test_numbers_that_json_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(json_pieces({"a": [float("nan")]}))
