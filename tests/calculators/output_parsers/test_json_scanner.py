import json

import pytest

from calculators.output_parsers.json_scanner import JsonScanner, read_json

VALUES = [
    "{}",
    "[]",
    '""',
    "true",
    "false",
    "null",
    ' \n{"a": 1, "b": [1.5e-3, -0, {"c": {}}, []], "": null}',
    r'"quotes \" and \\ and \u00e9 and \n"',
    '{"text": "} ] , : \\" {"}',
    "[" * 5000 + "]" * 5000,
    '"日本語 😀"',
    '{"a": -12.5E+7}',
]


def scan(pieces):
    scanner = JsonScanner()
    read = ""
    for piece in pieces:
        end = scanner.feed(piece)
        read += piece[:end]
        if end < len(piece):
            break
    return scanner, read


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("after", ["", " ", "}", ",", "x", '"'])
def test_a_value_ends_where_it_ends(value, after):
    for pieces in ([value + after], value + after):
        scanner, read = scan(pieces)
        assert (scanner.is_complete, scanner.is_broken) == (True, False)
        assert read == value


@pytest.mark.parametrize("value", VALUES)
def test_the_beginning_of_a_value_is_neither_complete_nor_broken(value):
    if len(value) > 1000:
        value = value[:100]
    for length in range(len(value)):
        scanner, read = scan([value[:length]])
        assert not scanner.is_complete
        assert not scanner.is_broken
        assert read == value[:length]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("x", ""),
        ('{"a" 1}', '{"a" '),
        ("{a: 1}", "{"),
        ("{,}", "{"),
        ('{"a": 1,}', '{"a": 1,'),
        ("[1,]", "[1,"),
        ("[1 2]", "[1 "),
        ('{"a": }', '{"a": '),
        ('{"a": 1]', '{"a": 1'),
        (r'"\x"', '"\\'),
        (r'"\u12g4"', r'"\u12'),
        ("truth", "tru"),
        ("NaN", ""),
        ("[01]", "["),
        ("[1.]", "["),
        ("[--1]", "["),
    ],
)
def test_what_is_no_json_is_broken_where_it_cannot_go_on(text, good):
    scanner, read = scan([text])
    assert scanner.is_broken
    assert read == good


def test_a_number_in_pieces_is_checked_as_a_whole():
    scanner, read = scan(["[1", "2", ".", "5", "e", "1]"])
    assert scanner.is_complete
    assert read == "[12.5e1]"
    assert scan(["[1.", "e5]"])[0].is_broken


def test_line_breaks_in_strings_are_escaped():
    text = '{"a\nb":\n"c\td\x00" }'
    assert json.loads(read_json(text)) == {"a\nb": "c\td\x00"}
    scanner = JsonScanner()
    pieces = []
    for character in text:
        scanner.feed(character)
        pieces.append(scanner.text)
    assert "".join(pieces) == read_json(text) == r'{"a\nb":' + "\n" + r'"c\td\u0000" }'


@pytest.mark.parametrize("text", ["", " ", "1 2", "{} x", "[", "-", "tru"])
def test_what_is_no_whole_value(text):
    assert read_json(text) is None
