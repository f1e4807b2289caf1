import itertools
import random

import pytest

from calculators.text.stop_strings import StopStringMatcher, StopStringScanner


def scan(stop_strings, pieces):
    """Return the text released for each piece, what was flushed, and the stop string found."""
    scanner = StopStringScanner(StopStringMatcher(stop_strings))
    released = []
    for piece in pieces:
        released.append(scanner.feed(piece))
        if scanner.found is not None:
            return released, "", scanner.found
    return released, scanner.flush(), None


def test_text_that_cannot_start_a_stop_string_is_released_at_once():
    assert scan(["\n\n"], ["Hello", " world"]) == (["Hello", " world"], "", None)


def test_only_a_possible_start_is_held_back():
    assert scan(["</s>"], ["a <", "b </", "s", "t"]) == (["a ", "<b ", "", "</st"], "", None)


def test_a_stop_string_across_pieces_ends_the_text_before_it():
    assert scan(["STOP"], ["one S", "TO", "P two"]) == (["one ", "", ""], "", "STOP")


def test_what_is_held_back_at_the_end_is_flushed():
    assert scan(["STOP"], ["one ST"]) == (["one "], "ST", None)


@pytest.mark.parametrize(
    ("stop_strings", "text", "shown", "found"),
    [
        (["b", "a"], "xxaxb", "xx", "a"),
        (["abcd", "bc"], "xabcd", "xa", "bc"),
        (["bc", "abc"], "xabcx", "x", "abc"),
        (["aab"], "aaaab", "aa", "aab"),
        (["abab", "ba"], "xabab", "xa", "ba"),
        (["é日", "😀"], "aé日", "a", "é日"),
        (["", "x"], "axb", "a", "x"),
    ],
)
def test_the_stop_string_that_is_complete_first_wins(stop_strings, text, shown, found):
    for pieces in ([text], list(text)):
        released, flushed, stop = scan(stop_strings, pieces)
        assert ("".join(released) + flushed, stop) == (shown, found)


def test_pieces_do_not_change_the_result():
    numbers = random.Random(3)
    for _ in range(500):
        stop_strings = ["".join(numbers.choices("ab", k=numbers.randrange(1, 5))) for _ in range(3)]
        text = "".join(numbers.choices("abc", k=30))
        cuts = sorted(numbers.sample(range(31), 5))
        pieces = [text[i:j] for i, j in itertools.pairwise([0, *cuts, 30])]
        released, flushed, found = scan(stop_strings, pieces)
        ends = [text.find(stop) + len(stop) for stop in stop_strings if stop in text]
        end = min(ends, default=None)
        assert (found is None) == (end is None)
        expected = text if found is None else text[: end - len(found)]
        assert "".join(released) + flushed == expected


def test_an_included_stop_string_ends_the_text_and_nothing_is_held_back():
    scanner = StopStringScanner(StopStringMatcher(["STOP"]), is_included=True)
    assert [scanner.feed(piece) for piece in ("one S", "TO", "P two")] == ["one S", "TO", "P"]
    assert (scanner.found, scanner.flush()) == ("STOP", "")


def test_a_stop_string_that_does_not_count_yet_is_text():
    scanner = StopStringScanner(StopStringMatcher(["ab", "bcd"]))
    shown = [scanner.feed("xabx", may_stop=False), scanner.feed("yab", may_stop=False)]
    assert ("".join(shown), scanner.found) == ("xabxy", None)
    # It can still be the beginning of a later stop string.
    assert scanner.feed("cd.") == "a"
    assert scanner.found == "bcd"


@pytest.mark.parametrize("is_included", [False, True])
def test_a_stop_string_may_begin_where_it_does_not_count(is_included):
    scanner = StopStringScanner(StopStringMatcher(["STOP"]), is_included)
    shown = scanner.feed("a ST", may_stop=False) + scanner.feed("OP b")
    assert shown == ("a STOP" if is_included else "a ")
