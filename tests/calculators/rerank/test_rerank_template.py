from pathlib import Path
from typing import Any

import pytest

from calculators.rerank.model_config import ModelConfig
from calculators.rerank.rerank_template import RerankTemplate, load_rerank_template
from server.errors import InvalidRequestError, ModelLoadError

QWEN3_RERANKER = {"model_type": "qwen3", "id2label": {"0": "LABEL_0"}}

# As Qwen's model card puts it together.
PROMPT = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n<Instruct>: {}\n<Query>: {}\n<Document>: {}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
TASK = "Given a web search query, retrieve relevant passages that answer the query"


def load(folder: Path, config: dict[str, Any], option: str = "") -> RerankTemplate | None:
    return load_rerank_template(folder, ModelConfig(config), option, folder / option)


@pytest.mark.parametrize(
    "config",
    [QWEN3_RERANKER, {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}],
)
def test_qwen3_rerankers_get_the_prompt_of_their_model_card(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    template = load(tmp_path, config)
    assert template is not None
    assert template.render([("a {{b}}?", " c\n")])[0] == PROMPT.format(TASK, "a {{b}}?", " c\n")
    assert template.render([("a", "b")], "Find it")[0] == PROMPT.format("Find it", "a", "b")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "bert", "id2label": {"0": "LABEL_0"}},
        {"model_type": "qwen3", "id2label": {"0": "bad", "1": "good"}},
    ],
)
def test_other_models_take_plain_pairs(tmp_path: Path, config: dict[str, Any]) -> None:
    assert load(tmp_path, config) is None


def test_the_option_switches_it_off_or_names_a_file(tmp_path: Path) -> None:
    assert load(tmp_path, QWEN3_RERANKER, "none") is None
    (tmp_path / "own.jinja").write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }} {% endfor %}"
    )
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "<e>"}')
    template = load(tmp_path, QWEN3_RERANKER, "own.jinja")
    assert template is not None
    assert template.render([("q", "d")])[0] == "query: q<e> document: d<e> "


def test_a_template_of_the_folder_that_shows_queries_and_documents_is_taken(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_text("{{ messages[0].role == 'user' }}")
    assert load(tmp_path, {}) is None
    path.write_text(
        "{% for m in messages if m.role in ['query', 'document'] %}{{ m.content }};{% endfor %}"
    )
    template = load(tmp_path, {})
    assert template is not None
    assert template.render([("q", "d")])[0] == "q;d;"


def test_errors_of_templates_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"line 1 of the reranker's template"):
        RerankTemplate("{% if %}", {}, "here")
    with pytest.raises(ModelLoadError, match=r"missing\.jinja: cannot be read"):
        load(tmp_path, {}, "missing.jinja")
    with pytest.raises(InvalidRequestError, match="cannot show this query and document: no"):
        RerankTemplate("{{ raise_exception('no') }}", {}, "here").render([("q", "d")])
