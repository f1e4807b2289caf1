import json
from pathlib import Path
from typing import Any

import pytest

from calculators.rerank.model_config import ModelConfig
from calculators.rerank.token_template import TextTemplates, load_templates
from server.errors import ModelLoadError

NAMES = {"<s>": [0], "</s>": [2], "[CLS]": [101], "[SEP]": [102]}


def load(folder: Path, **config: Any) -> TextTemplates:
    return load_templates(folder, ModelConfig(config), NAMES.__getitem__)


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "xlm_roberta", "mpnet", "deberta", "modernbert", "qwen3"]
)
def test_rows_are_those_of_the_tokenizer(tmp_path: Path, exporters: None, kind: str) -> None:
    from support.tiny_rankers import make_tokenizer

    hf = make_tokenizer(kind)
    hf.save_pretrained(tmp_path)
    templates = load(tmp_path)
    for query, document in (("the fox", "jumps over a dog"), ("", "fox"), ("fox", "")):
        # In a list: beside another text, an empty one counts as none.
        expected = hf([(query, document)], return_token_type_ids=True)
        parts = [hf(text, add_special_tokens=False)["input_ids"] for text in (query, document)]
        row = templates.pair.fill(*parts)
        assert row.token_ids == tuple(expected["input_ids"][0])
        assert row.token_type_ids == tuple(expected["token_type_ids"][0])
        assert templates.pair.num_special == len(row) - len(parts[0]) - len(parts[1])
        assert templates.single.fill(parts[0]).token_ids == tuple(hf(query)["input_ids"])


def test_berts_older_post_processor_is_known(tmp_path: Path) -> None:
    processor = {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}
    write(tmp_path, "tokenizer.json", {"post_processor": processor})
    row = load(tmp_path).pair.fill([5], [6, 7])
    assert row.token_ids == (101, 5, 102, 6, 7, 102)
    assert row.token_type_ids == (0, 0, 0, 1, 1, 1)


def test_without_tokenizer_json_it_is_model_servers_pair(tmp_path: Path) -> None:
    # 0 counts as unset, so the BOS token is that of the name.
    write(tmp_path, "tokenizer_config.json", {"bos_token": "<s>", "cls_token": "<s>"})
    row = load(tmp_path, bos_token_id=0, eos_token_id=2).pair.fill([5], [6])
    assert row.token_ids == (0, 5, 2, 2, 6, 2)
    assert row.token_type_ids == (0,) * 6
    write(tmp_path, "tokenizer_config.json", {"cls_token": "[CLS]", "sep_token": "[SEP]"})
    assert load(tmp_path).pair.fill([5], [6]).token_ids == (101, 5, 102, 6, 102)


@pytest.mark.parametrize(
    "content",
    ["[", "[]", '{"post_processor": {"type": "New"}}', '{"post_processor": {"type": "Sequence"}}'],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json: "):
        load(tmp_path)
