"""Exported tokenizers are compared with their sources, and mended where another conversion is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openvino as ov
import pytest
from openvino_tokenizers import convert_tokenizer
from support.tokenizer_folders import CORPUS, make_byte_level, make_metaspace
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from export_models.tokenizer.comparison import compare_tokenizers
from export_models.tokenizer.conversion import REWRITTEN, USUAL, main
from export_models.tokenizer.probe_texts import MAX_ADDED_TOKENS, TEXTS, probe_texts
from server.host.model_files import DETOKENIZER_FILE, TOKENIZER_FILE


def make_unigram(scheme: str = "always", byte_fallback: bool = False) -> Any:
    """As SentencePiece makes them; blanks are kept as they are."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    names = ["<unk>", "<s>", "</s>"]
    if byte_fallback:
        names += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=names, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    state = json.loads(tokenizer.to_str())
    state["model"]["byte_fallback"] = byte_fallback
    state["added_tokens"] = state["added_tokens"][:3]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token="<unk>", eos_token="</s>"
    )


def make_single_word() -> Any:
    hf = make_byte_level()
    hf.add_tokens([AddedToken("fox", single_word=True, normalized=False)])
    return hf


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Save a tokenizer as a source, convert another one as an export does, and compare them."""

    def run(source: Any, exported: Any) -> dict[str, Any]:
        source.save_pretrained(tmp_path / "source")
        exported.save_pretrained(tmp_path / "model")
        for model, name in zip(
            convert_tokenizer(exported, with_detokenizer=True),
            (TOKENIZER_FILE, DETOKENIZER_FILE),
            strict=True,
        ):
            ov.save_model(model, tmp_path / "model" / name)
        return compare_tokenizers(str(tmp_path / "source"), tmp_path / "model", {})

    return run


@pytest.mark.parametrize("make", [make_byte_level, make_metaspace])
def test_ordinary_tokenizers_are_equal(export, make: Callable[[], Any]) -> None:
    found = export(make(), make())
    assert (found["num_wrong"], found["differences"], found["faults"]) == (0, [], [])
    assert found["conversion"] == USUAL
    assert found["num_texts"] > len(TEXTS)


def test_blanks_that_the_usual_conversion_loses_are_mended(export, tmp_path: Path) -> None:
    hf = make_unigram()
    found = export(hf, hf)
    assert (found["num_wrong"], found["conversion"]) == (0, REWRITTEN)
    # It is the mended one that lies in the folder now.
    again = compare_tokenizers(str(tmp_path / "source"), tmp_path / "model", {})
    assert (again["num_wrong"], again["conversion"]) == (0, USUAL)
    assert not [path for path in (tmp_path / "model").iterdir() if path.is_dir()]


def test_a_tokenizer_that_the_usual_way_cannot_convert(tmp_path: Path) -> None:
    source, model = tmp_path / "source", tmp_path / "model"
    hf = make_unigram(scheme="first")
    hf.save_pretrained(source)
    with pytest.raises(Exception, match="u8"):
        convert_tokenizer(hf, with_detokenizer=True)
    model.mkdir()
    main([str(source), str(model)])
    found = compare_tokenizers(str(source), model, {})
    assert found["num_wrong"] == 0


def test_a_difference_names_text_and_tokens(export, capsys: pytest.CaptureFixture[str]) -> None:
    hf = make_single_word()
    found = export(hf, hf)
    ids = hf.encode("afoxb fox c")
    assert (found["num_wrong"], found["faults"]) == (1, [])
    [difference] = found["differences"]
    assert difference.startswith(f"'afoxb fox c' should give from token 1 on: {ids[1]}, {ids[2]}, ")
    assert "; gives: " in difference
    assert (
        "warning: the tokenizer is not quite that of the source: 'afoxb" in capsys.readouterr().out
    )


def test_bytes_that_become_unknown_are_named(export) -> None:
    """OpenVINO's Unigram operation has no byte fallback; of this tiny one most texts need it."""
    hf = make_unigram(byte_fallback=True)
    found = export(hf, hf)
    assert found["faults"]
    assert f"of {found['num_texts']} texts give other tokens" in found["faults"][0]


def test_a_file_that_cannot_be_read_is_made_anew(export, tmp_path: Path) -> None:
    hf = make_byte_level()
    export(hf, hf)
    (tmp_path / "model" / TOKENIZER_FILE).write_text("<net>")
    found = compare_tokenizers(str(tmp_path / "source"), tmp_path / "model", {})
    assert (found["num_wrong"], found["faults"]) == (0, [])
    assert "<layers>" in (tmp_path / "model" / TOKENIZER_FILE).read_text()


def test_few_of_many_added_tokens_are_tried() -> None:
    names = [f"<{number}>" for number in range(1000)]
    texts = probe_texts(names)
    assert len(texts) == len(TEXTS) + MAX_ADDED_TOKENS + 1
    assert "a<0>b <0> c" in texts
    assert "a<999>b <999> c" in texts
    assert probe_texts([]) == [*TEXTS]
