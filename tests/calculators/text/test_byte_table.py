import codecs
import json
import random
import shutil

import numpy as np
import openvino as ov
import pytest

from calculators.text.byte_table import ByteTable, load_byte_table
from server.errors import ModelLoadError
from server.host.openvino_core import shared_core

TEXTS = [
    "Hello world",
    " leading space, and: punctuation . , ! don't isn 't",
    "Grüße čeština ελληνικά Русский",
    "日本語のテキスト 한국어 עברית العربية हिन्दी ไทย",
    "😀👍🏽 👩‍👩‍👧 🏳️‍🌈",
    "line\nbreak\ttab\r\n  indented",
    "NUL \0 inside and at the end\0",
]


def decode_by_ir(folder, ids):
    """Run the detokenizer of the export as it is."""
    compiled = shared_core().compile_model(folder / "openvino_detokenizer.xml", "CPU")
    return str(compiled([np.array([ids], np.int64)])[0][0])


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("model", ["byte_level", "metaspace"], indirect=True)
def test_texts_come_back_as_transformers_gives_them(model, text):
    table = load_byte_table(model.path)
    ids = model.hf(text).input_ids
    expected = model.hf.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert table.decode(ids) == expected == text


@pytest.mark.parametrize("text", [text for text in TEXTS if "\0" not in text and "," not in text])
def test_texts_come_back_as_the_export_gives_them(model, text):
    ids = model.hf(text).input_ids
    assert load_byte_table(model.path).decode(ids) == decode_by_ir(model.path, ids)


def test_any_ids_of_a_byte_level_vocabulary_decode_as_by_transformers(byte_level):
    table = load_byte_table(byte_level.path)
    numbers = random.Random(7)
    for _ in range(300):
        ids = [numbers.randrange(len(table.token_bytes)) for _ in range(numbers.randrange(1, 20))]
        expected = byte_level.hf.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert table.decode(ids) == expected


def test_any_ids_of_a_metaspace_vocabulary_decode_as_by_transformers(metaspace):
    table = load_byte_table(metaspace.path)
    numbers = random.Random(7)
    # transformers repairs runs of byte tokens as a whole, so bytes come in whole characters here.
    characters = [[3 + byte for byte in text.encode()] for text in ("é", "ไ", "😀", "\0", "~")]
    others = [[token_id] for token_id in [0, 1, 2, *range(259, len(table.token_bytes))]]
    for _ in range(300):
        parts = numbers.choices([*characters * 10, *others], k=numbers.randrange(1, 20))
        ids = [token_id for part in parts for token_id in part]
        assert table.decode(ids) == metaspace.hf.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


def test_only_the_first_visible_token_loses_its_space(metaspace):
    table = load_byte_table(metaspace.path)
    the = metaspace.hf.convert_tokens_to_ids("▁the")
    bos = metaspace.hf.bos_token_id
    assert (table.lookup_first(the), table.lookup(the)) == (b"the", b" the")
    assert table.decode([bos, the, bos, the]) == "the the"


def test_special_tokens_and_unknown_ids_add_nothing(byte_level):
    table = load_byte_table(byte_level.path)
    assert table.special_bytes[2] == b"<|im_end|>"
    assert [table.lookup(2), table.lookup_first(2), table.lookup(10**6)] == [b""] * 3


def test_sentencepiece_operations_are_understood(sentencepiece_op):
    table = load_byte_table(sentencepiece_op)
    assert set(table.special_bytes) == {1, 2}
    assert table.decode([1, 259, 260]) == "hello world"
    emoji = [3 + byte for byte in "😀".encode()]
    assert table.decode([259, *emoji]) == "hello😀" == decode_by_ir(sentencepiece_op, [259, *emoji])
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    assert [decode(table.lookup(token_id)) for token_id in emoji] == ["", "", "", "😀"]


def test_a_large_vocabulary_is_read_whole(tmp_path, byte_level):
    from openvino_tokenizers import convert_tokenizer
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads((byte_level.path / "tokenizer.json").read_text())
    vocabulary = state["model"]["vocab"]
    while len(vocabulary) < 151_936:
        vocabulary[f"Ġsynthetic{len(vocabulary)}"] = len(vocabulary)
    hf = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    _, decoder = convert_tokenizer(hf, with_detokenizer=True)
    ov.save_model(decoder, tmp_path / "openvino_detokenizer.xml")
    table = load_byte_table(tmp_path)
    assert len(table.token_bytes) == 151_936
    assert table.lookup(151_935) == b" synthetic151935"


def test_the_table_of_ids_is_a_value():
    table = ByteTable([b"a", b" b"], {1: b"b"}, {})
    assert table.decode([1, 0, 1]) == "ba b"


def test_a_missing_file_is_named_with_what_is_needed(tmp_path):
    with pytest.raises(ModelLoadError, match=r"openvino_detokenizer\.xml: no such file"):
        load_byte_table(tmp_path)


def test_a_model_that_is_no_detokenizer_is_refused(byte_level, tmp_path):
    for suffix in ("xml", "bin"):
        source = byte_level.path / f"openvino_tokenizer.{suffix}"
        shutil.copy(source, tmp_path / f"openvino_detokenizer.{suffix}")
    with pytest.raises(ModelLoadError, match="neither a VocabDecoder nor"):
        load_byte_table(tmp_path)


def test_special_tokens_can_be_made_to_show(byte_level):
    table = load_byte_table(byte_level.path)
    shown = table.showing({"<|im_start|>", "no token"})
    assert shown.decode([1, 2]) == "<|im_start|>"
    assert table.decode([1, 2]) == ""
    assert table.showing({"no token"}) is table
