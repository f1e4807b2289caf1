import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from calculators.text.text_encoder import MAX_TOKENS, SLICE_CHARACTERS, TextEncoder
from server.errors import InvalidRequestError, ModelLoadError
from server.host.process_memory import resident_bytes

TEXTS = {
    "words": "Hello world",
    "empty": "",
    "letter": "a",
    "leading space": " leading",
    "trailing space": "trailing ",
    "white space": "\n\n  x\t",
    "NUL": "NUL at the end\0",
    "scripts": "héllo 日本 😀👍🏽 עברית हिन्दी",
    "chat": "<|im_start|>user\nHi<|im_end|>\n",
    "long": "word " * 5000,
}


@pytest.mark.parametrize("add_special_tokens", [False, True])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_ids_equal_those_of_transformers(model, text, add_special_tokens):
    expected = model.hf(text, add_special_tokens=add_special_tokens).input_ids
    assert list(TextEncoder(model.path).encode(text, add_special_tokens)) == expected


@pytest.mark.parametrize("add_special_tokens", [False, True])
def test_many_texts_at_once_are_as_one_by_one(model, sentencepiece_op, add_special_tokens):
    texts = [*TEXTS.values(), *TEXTS.values()]
    for path in (model.path, sentencepiece_op):
        encoder = TextEncoder(path)
        one_by_one = [encoder.encode(text, add_special_tokens) for text in texts]
        assert encoder.encode_many(texts, add_special_tokens) == one_by_one


LONG = "The quick brown fox 123 jumps. 日本 " * 10_000


def test_the_ends_of_a_long_text_are_those_of_the_whole(model, sentencepiece_op):
    for path in (model.path, sentencepiece_op):
        encoder = TextEncoder(path)
        whole = encoder.encode(LONG, add_special_tokens=False)
        first, last = encoder.encode_start(LONG, 100), encoder.encode_end(LONG, 100)
        # There are a few more, so that a caller sees that the text is longer.
        assert 100 < len(first) < len(whole)
        assert 100 < len(last) < len(whole)
        assert first[:100] == whole[:100]
        assert last[-100:] == whole[-100:]
        assert encoder.encode_start(LONG, len(whole)) == whole
        assert encoder.encode_end("ab", 1, add_special_tokens=True) == encoder.encode("ab", True)


def test_the_tokens_of_a_long_text_are_at_least_so_many(model, sentencepiece_op):
    for path in (model.path, sentencepiece_op):
        encoder = TextEncoder(path)
        whole = len(encoder.encode(LONG, add_special_tokens=False))
        assert 0.95 * whole < encoder.count_at_least(LONG, 10**6) <= whole
        assert 1000 < encoder.count_at_least(LONG, 1000) < whole / 2
        assert encoder.count_at_least(LONG[:SLICE_CHARACTERS], 10) == 0


def test_a_text_of_too_many_tokens_is_refused_and_takes_little_memory(byte_level):
    encoder = TextEncoder(byte_level.path)
    text = "😀" * 3_000_000
    before = resident_bytes()
    with pytest.raises(InvalidRequestError, match=r"3000000 characters has at least \d+ tokens"):
        encoder.encode(text, add_special_tokens=False)
    assert len(encoder.encode("a😀" * 150_000, add_special_tokens=False)) <= MAX_TOKENS
    assert resident_bytes() - before < 60_000_000


def test_special_tokens_around_a_text(word_piece, metaspace, byte_level, sentencepiece_op):
    cls, sep = word_piece.hf.cls_token_id, word_piece.hf.sep_token_id
    assert TextEncoder(word_piece.path).special_tokens() == ((cls,), (sep,))
    assert TextEncoder(metaspace.path).special_tokens() == ((1,), ())
    assert TextEncoder(byte_level.path).special_tokens() == ((), ())
    assert TextEncoder(sentencepiece_op).special_tokens() == ((1,), ())


def test_special_tokens_are_added_on_request_only(metaspace, word_piece):
    assert TextEncoder(metaspace.path).encode("Hello", True)[0] == metaspace.hf.bos_token_id
    bare = TextEncoder(word_piece.path).encode("Hello", False)
    full = TextEncoder(word_piece.path).encode("Hello", True)
    assert full == (word_piece.hf.cls_token_id, *bare, word_piece.hf.sep_token_id)


def test_the_name_of_a_special_token_becomes_that_token(byte_level):
    ids = TextEncoder(byte_level.path).encode("a<|im_end|>b", False)
    assert ids[1] == byte_level.hf.eos_token_id
    assert len(ids) == 3


@pytest.mark.parametrize("text", ["Hi", "The quick brown fox jumps over the lazy dog" * 50])
@pytest.mark.parametrize("add_special_tokens", [False, True])
def test_an_export_that_truncates_and_pads_does_neither_here(truncating, text, add_special_tokens):
    expected = truncating.hf(text, add_special_tokens=add_special_tokens).input_ids
    assert list(TextEncoder(truncating.path).encode(text, add_special_tokens)) == expected


def test_sentencepiece_operations_are_understood(sentencepiece_op):
    encoder = TextEncoder(sentencepiece_op)
    bare = encoder.encode("hello world", False)
    assert bare == (259, 260)
    assert encoder.encode("hello world", True) == (1, *bare)


def test_sentencepiece_truncation_is_taken_out(sentencepiece_op):
    assert len(TextEncoder(sentencepiece_op).encode("hello " * 100, False)) >= 100


def test_threads_share_an_encoder(byte_level):
    encoder = TextEncoder(byte_level.path)
    texts = [f"text number {number} " * 20 for number in range(100)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda text: encoder.encode(text, False), texts))
    assert found == [encoder.encode(text, False) for text in texts]


def test_half_of_a_character_is_refused(byte_level):
    with pytest.raises(InvalidRequestError, match=r"U\+D83D at character 3"):
        TextEncoder(byte_level.path).encode("abc\ud83d", False)


@pytest.mark.parametrize("name", ["openvino_tokenizer.xml", "openvino_tokenizer.bin"])
def test_a_missing_file_is_named_with_what_is_needed(byte_level, tmp_path, name):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).unlink()
    with pytest.raises(ModelLoadError, match=rf"{name}: no such file.*export_model"):
        TextEncoder(tmp_path)


def test_a_corrupt_file_is_named(byte_level, tmp_path):
    shutil.copytree(byte_level.path, tmp_path, dirs_exist_ok=True)
    (tmp_path / "openvino_tokenizer.xml").write_text("<net><layers>")
    with pytest.raises(ModelLoadError, match=r"openvino_tokenizer\.xml: cannot be read"):
        TextEncoder(tmp_path)


def test_a_model_that_is_no_tokenizer_is_refused(byte_level, tmp_path):
    for suffix in ("xml", "bin"):
        source = byte_level.path / f"openvino_detokenizer.{suffix}"
        shutil.copy(source, tmp_path / f"openvino_tokenizer.{suffix}")
    with pytest.raises(ModelLoadError, match="one input of type string"):
        TextEncoder(tmp_path)
