"""Whether the tokens of a draft model are those of the model, and what differs."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from calculators.text.byte_table import ByteTable, load_byte_table
from calculators.text.vocabularies import check_same_vocabulary
from server.errors import ModelLoadError
from server.host.model_files import DETOKENIZER_FILE


@pytest.fixture(scope="module")
def table(model_f32: Path) -> ByteTable:
    return load_byte_table(model_f32)


def test_the_same_tokens(table: ByteTable, model_f32: Path) -> None:
    check_same_vocabulary(table, model_f32)


def test_the_first_token_that_differs_is_named(table: ByteTable, model_f32: Path) -> None:
    texts = list(table.token_bytes)
    texts[700], texts[900] = b"other", b"another"
    expected = r"has another tokenizer: token 700 is '.*', here 'other'\. A draft model must"
    with pytest.raises(ModelLoadError, match=expected):
        check_same_vocabulary(replace(table, token_bytes=texts), model_f32)


def test_special_tokens_are_compared_by_their_names(table: ByteTable, model_f32: Path) -> None:
    token_id, name = next(iter(table.special_bytes.items()))
    special = {**table.special_bytes, token_id: b"<other>"}
    with pytest.raises(ModelLoadError, match=f"token {token_id} is '.*', here '<other>'"):
        check_same_vocabulary(replace(table, special_bytes=special), model_f32)
    assert name != b"<other>"


@pytest.mark.parametrize(("change", "longer"), [(1, "the model"), (-1, "the draft model")])
def test_tokens_that_only_one_has(
    table: ByteTable, model_f32: Path, change: int, longer: str
) -> None:
    texts = [*table.token_bytes, b"more"] if change > 0 else list(table.token_bytes[:-1])
    token_id = min(len(texts), len(table.token_bytes))
    expected = f"it has {len(table.token_bytes)} tokens, the model {len(texts)}; only {longer} has "
    with pytest.raises(ModelLoadError, match=f"{expected}token {token_id}, "):
        check_same_vocabulary(replace(table, token_bytes=texts), model_f32)


def test_folders_that_do_not_say(table: ByteTable, model_f32: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="there is no such folder; it is draft_models_path"):
        check_same_vocabulary(table, tmp_path / "x")
    shutil.copytree(model_f32, tmp_path / "m")
    (tmp_path / "m" / DETOKENIZER_FILE).unlink()
    with pytest.raises(ModelLoadError, match=f"has no {DETOKENIZER_FILE}, .*convert_tokenizer"):
        check_same_vocabulary(table, tmp_path / "m")
