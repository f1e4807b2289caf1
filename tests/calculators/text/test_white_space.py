import json
from pathlib import Path
from typing import Any

import pytest

from calculators.text.text_encoder import TextEncoder
from calculators.text.white_space import single_spaces, splits_at_white_space
from server.errors import ModelLoadError

SPLIT = {"type": "WhitespaceSplit"}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (None, False),
        (SPLIT, True),
        ({"type": "ByteLevel"}, False),
        ({"type": "Sequence", "pretokenizers": [SPLIT, {"type": "Metaspace"}]}, True),
    ],
)
def test_the_step_is_found(tmp_path: Path, step: Any, expected: bool) -> None:
    # The text is not enough.
    state = {"pre_tokenizer": step, "added_tokens": [{"content": "WhitespaceSplit"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    assert splits_at_white_space(tmp_path) is expected


def test_a_folder_without_tokenizer_json_or_with_a_broken_one(tmp_path: Path) -> None:
    assert not splits_at_white_space(tmp_path)
    (tmp_path / "tokenizer.json").write_text('["WhitespaceSplit"]')
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json: cannot be read"):
        splits_at_white_space(tmp_path)


def test_texts_keep_their_words() -> None:
    assert single_spaces(" two\n\nlines\t \u3000of\u00a0it\r\n") == "two lines of it"
    assert single_spaces("a\u200bb c") == "a\u200bb c"


def test_tokens_are_those_of_xlm_roberta(rankers: Path) -> None:
    from transformers import AutoTokenizer

    folder = rankers / "xlm_roberta"
    hf: Any = AutoTokenizer.from_pretrained(folder / "source")
    encoder = TextEncoder(folder / "openvino")
    for text in ("two\nlines\n", "a \t b ", " ", "", "\n", "fox\u00a0dog", "   fox  dog"):
        expected = tuple(hf(text, add_special_tokens=False)["input_ids"])
        assert encoder.encode(text, add_special_tokens=False) == expected, repr(text)
