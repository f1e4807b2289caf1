"""The prompt of rerankers that are language models: a question about a query and a document."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calculators.chat_template.render_process import (
    DEFAULT_TIME_LIMIT_S,
    RenderFailure,
    TemplateSource,
)
from calculators.chat_template.template_files import find_templates, read_special_tokens
from calculators.rerank.model_config import ModelConfig
from server.errors import InvalidRequestError, ModelLoadError

__all__ = ["NO_TEMPLATE", "QWEN3", "RerankTemplate", "load_rerank_template"]

NO_TEMPLATE = "none"
"""The value of a template option that switches templates off."""

# Of pairs that are rendered together.
MAX_PAIRS_AT_ONCE = 64
MAX_CHARACTERS_AT_ONCE = 1_000_000
# Stands for a document; no text has it, as noncharacters are for such uses.
MARK = "\ufdd0document\ufdd1"

# The prompt of Qwen3-Reranker's model card, with the roles of vLLM's templates for rerankers
# (examples/pooling/score/template). Jinja drops the last newline.
QWEN3 = """\
<|im_start|>system
Judge whether the Document meets the requirements based on the Query and the Instruct provided. \
Note that the answer can only be "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: {{ messages | selectattr("role", "eq", "system") | map(attribute="content") | first \
| default("Given a web search query, retrieve relevant passages that answer the query") }}
<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}
<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first \
}}<|im_end|>
<|im_start|>assistant
<think>

</think>


"""


class RerankTemplate:
    """A Jinja template that shows messages with the roles query, document and, optionally, system.

    Threads may share it. Raises ModelLoadError, with `origin` in its message, for a template with
    an error.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        origin: str,
        time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    ) -> None:
        self._special_tokens = dict(special_tokens)
        self.origin = origin
        self._renderer = TemplateSource(source, time_limit_s)
        try:
            self._renderer.names()
        except RenderFailure as error:
            problem = error.of("the reranker's template")
            raise ModelLoadError(f"{origin}: {problem}") from error

    def render(
        self, pairs: Sequence[tuple[str, str]], instruction: str | None = None
    ) -> Sequence[str]:
        """Return the prompts of queries with documents, special tokens included.

        Without an `instruction` the template's own one is shown. Raises InvalidRequestError for
        what the template cannot render.
        """
        found: list[str] = []
        try:
            for some in _at_once(pairs):
                sets = [self._variables(*pair, instruction) for pair in some]
                found += self._renderer.render_many(sets)
        except RenderFailure as error:
            raise InvalidRequestError(
                f"the reranker's template cannot show this query and document: {error}", "documents"
            ) from error
        return found

    def around(self, query: str, instruction: str | None = None) -> tuple[str, str]:
        """The text before the document, and the text after it.

        Raises InvalidRequestError for a template that does not show the document exactly once.
        """
        parts = self.render([(query, MARK)], instruction)[0].split(MARK)
        if len(parts) != 2:
            raise InvalidRequestError(
                "the reranker's template does not show the document once, so it cannot be cut",
                "documents",
            )
        return parts[0], parts[1]

    def _variables(self, query: str, document: str, instruction: str | None) -> Mapping[str, Any]:
        messages = [_message("query", query), _message("document", document)]
        variables: dict[str, Any] = {**self._special_tokens, "messages": messages}
        if instruction is not None:
            messages.insert(0, _message("system", instruction))
            variables["instruction"] = instruction
        return variables


def _at_once(pairs: Sequence[tuple[str, str]]) -> Iterator[Sequence[tuple[str, str]]]:
    start = num_characters = 0
    for end, pair in enumerate(pairs, 1):
        num_characters += sum(map(len, pair))
        is_full = num_characters >= MAX_CHARACTERS_AT_ONCE or end - start == MAX_PAIRS_AT_ONCE
        if is_full or end == len(pairs):
            yield pairs[start:end]
            start, num_characters = end, 0


def _message(role: str, content: str) -> Mapping[str, Any]:
    return {"role": role, "content": content}


def load_rerank_template(
    models_path: Path,
    config: ModelConfig,
    option: str,
    file: Path | None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> RerankTemplate | None:
    """The template of a reranker's folder; None for a model that takes a plain pair of texts.

    `option` is the node's template option: "" looks into the folder, "none" is no template, and any
    other value names `file`. Raises ModelLoadError.
    """
    if option == NO_TEMPLATE:
        return None
    special_tokens = read_special_tokens(models_path)
    if option:
        sources, origin = find_templates(models_path, file)
        return RerankTemplate(sources["default"], special_tokens, str(origin), time_limit_s)
    sources, origin = find_templates(models_path)
    own = next((source for source in sources.values() if _shows_pairs(source)), None)
    if own is not None:
        return RerankTemplate(own, special_tokens, str(origin), time_limit_s)
    if _is_qwen3_reranker(config):
        return RerankTemplate(QWEN3, special_tokens, "Qwen3-Reranker", time_limit_s)
    return None


def _shows_pairs(source: str) -> bool:
    """Whether a chat template knows the roles of a reranker."""
    return all(f"'{role}'" in source or f'"{role}"' in source for role in ("query", "document"))


def _is_qwen3_reranker(config: ModelConfig) -> bool:
    """Whether it is a Qwen3 model that generates text or has a single label."""
    if config.members.get("model_type") != "qwen3":
        return False
    architectures = config.members.get("architectures") or ()
    return config.num_labels == 1 or any("CausalLM" in str(name) for name in architectures)
