"""Marks inside the names of special tokens that clients write."""

import pytest

from calculators.chat_template.plain_names import MARK, PlainNames

NAMES = ["<|end|>", "</s>", "[INST]", " [SEP]"]


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("no name, a<b, [1]", "no name, a<b, [1]"),
        ("a <|end|> b", "a <~|end|> b"),
        ("<|end|><|end|></s>", "<~|end|><~|end|><~/s>"),
        ("[SEP]", "[~SEP]"),
        # Parts of a name at the ends, which others may complete.
        ("so <|en", "so <~|en"),
        ("a <", "a <~"),
        ("|end|> so", "|~end|> so"),
        (">", "~>"),
        ("", ""),
    ],
)
def test_names_and_their_parts_at_the_ends(text: str, marked: str) -> None:
    assert PlainNames(NAMES).mark(text) == marked.replace("~", MARK)


def test_no_two_texts_join_to_a_name() -> None:
    names = PlainNames(NAMES)
    for name in map(str.strip, NAMES):
        for place in range(1, len(name)):
            joined = names.mark(f"a{name[:place]}") + names.mark(f"{name[place:]}b")
            assert name not in joined
            assert joined.replace(MARK, "") == f"a{name}b"


def test_all_texts_of_a_value_are_marked() -> None:
    value = {"</s>": [1, None, True, {"a": "</s>"}]}
    name = f"<{MARK}/s>"
    assert PlainNames(NAMES).mark(value) == {name: [1, None, True, {"a": name}]}
    assert PlainNames([]).mark(value) == value
