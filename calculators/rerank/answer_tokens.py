"""The tokens by which a reranker that generates text answers: those of yes and no, for example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calculators.encoders.encoder_config import read_json, read_json_list
from calculators.rerank.model_config import ModelConfig
from server.errors import ModelLoadError

__all__ = ["AnswerTokens", "read_answer_tokens"]

# The answers that Qwen3-Reranker's model card reads.
YES, NO = "yes", "no"


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """A score is the logit of `true_id`, less that of `false_id` where there is one.

    The sigmoid of the difference is the probability of the first of the two.
    """

    true_id: int
    false_id: int | None

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens whose logits are needed."""
        return (self.true_id,) if self.false_id is None else (self.true_id, self.false_id)


def read_answer_tokens(
    folder: Path, config: ModelConfig, encode: Callable[[str], Sequence[int]]
) -> AnswerTokens:
    """From sentence-transformers' module LogitScore, or as Qwen3-Reranker has them.

    `encode` gives the tokens of a text. Raises ModelLoadError where neither is there.
    """
    module = _read_logit_score(folder)
    if module is not None:
        true_id, false_id = module.get("true_token_id"), module.get("false_token_id")
        if type(true_id) is int and (false_id is None or type(false_id) is int):
            return AnswerTokens(true_id, false_id)
        raise ModelLoadError(
            f"{folder}: LogitScore has true_token_id {true_id!r} and false_token_id {false_id!r}; "
            "they must be token ids, the second may be null"
        )
    model_type = config.members.get("model_type")
    if model_type != "qwen3":
        raise ModelLoadError(
            f"{folder}: it generates text, and nothing says by which tokens it scores; possible: a "
            "module LogitScore of sentence-transformers in modules.json, or a Qwen3-Reranker; "
            f"found model_type {model_type!r}"
        )
    found = [encode(word) for word in (YES, NO)]
    if any(len(tokens) != 1 for tokens in found):
        raise ModelLoadError(
            f"{folder}: the tokenizer makes {found} of {YES!r} and {NO!r}; each must be one token"
        )
    return AnswerTokens(found[0][0], found[1][0])


def _read_logit_score(folder: Path) -> Mapping[str, Any] | None:
    for module in read_json_list(folder / "modules.json"):
        if isinstance(module, dict) and str(module.get("type")).endswith(".LogitScore"):
            return read_json(folder / str(module.get("path", "")) / "config.json")
    return None
