"""The words that a model wants in front of a text, and how a request chooses them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calculators.encoders.encoder_config import read_json
from server.errors import InvalidRequestError, did_you_mean
from server.payloads import EmbeddingRequest

__all__ = ["Prompts"]

PLACE = "{instruction}"
DEFAULT_TEMPLATE = f"Instruct: {PLACE}\nQuery: "
# The prompt of a model that has such a template, for example Qwen3-Embedding.
INSTRUCT = re.compile(r"Instruct: .*\nQuery: ?", re.DOTALL)

# Cohere's input types, and what models call their prompts for them.
INPUT_TYPES: Mapping[str, tuple[str, ...]] = {
    "search_query": ("search_query", "query", "retrieval.query", "s2p_query", "web_search_query"),
    "search_document": ("search_document", "document", "passage", "retrieval.passage", "corpus"),
    "classification": ("classification",),
    "clustering": ("clustering", "separation"),
    "query": ("query", "search_query", "retrieval.query", "s2p_query", "web_search_query"),
    "document": ("document", "search_document", "passage", "retrieval.passage", "corpus"),
    "passage": ("passage", "document", "search_document", "retrieval.passage", "corpus"),
}


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts by name, and a template with the place of an instruction in it."""

    by_name: Mapping[str, str] = field(default_factory=dict)
    default_name: str | None = None
    template: str = DEFAULT_TEMPLATE

    @classmethod
    def read(cls, folder: Path, template: str = "") -> "Prompts":
        """Those of config_sentence_transformers.json; `template` is put before the model's own.

        Raises ModelLoadError.
        """
        config = read_json(folder / "config_sentence_transformers.json")
        found = config.get("prompts")
        prompts = found if isinstance(found, Mapping) else {}
        by_name = {str(name): text for name, text in prompts.items() if isinstance(text, str)}
        default = config.get("default_prompt_name")
        like_qwen = next((text for text in by_name.values() if INSTRUCT.fullmatch(text)), None)
        if like_qwen is not None and not template:
            template = f"Instruct: {PLACE}\nQuery:{' ' * like_qwen.endswith(' ')}"
        return cls(by_name, default if default in by_name else None, template or DEFAULT_TEMPLATE)

    def find(self, request: EmbeddingRequest) -> str:
        """What goes before the request's texts; may be empty. Raises InvalidRequestError."""
        given = ("instruction", "prompt_name", "input_type")
        chosen = [name for name in given if getattr(request, name) is not None]
        if len(chosen) > 1:
            problem = f"{' and '.join(chosen)} do not go together: each chooses the prompt"
            raise InvalidRequestError(problem, chosen[1])
        if request.instruction is not None:
            return self.template.replace(PLACE, request.instruction)
        if request.prompt_name is not None:
            return self._named(request.prompt_name)
        if request.input_type is not None:
            return self._of_input_type(request.input_type)
        return "" if self.default_name is None else self.by_name[self.default_name]

    def _named(self, name: str) -> str:
        if name in self.by_name:
            return self.by_name[name]
        possible = ", ".join(map(repr, self.by_name)) or "none: the model has no prompts"
        hint = did_you_mean(name, self.by_name) or f"; possible: {possible}"
        problem = f"prompt_name is {name[:100]!r}, which is no prompt of this model"
        raise InvalidRequestError(problem + hint, "prompt_name")

    def _of_input_type(self, input_type: str) -> str:
        """A model without prompts takes all texts alike."""
        by_name = {name.lower(): text for name, text in self.by_name.items()}
        for name in INPUT_TYPES.get(input_type.lower(), ()):
            if name in by_name:
                return by_name[name]
        if input_type.lower() in INPUT_TYPES:
            return ""
        if input_type.lower() in by_name:
            return by_name[input_type.lower()]
        possible = ", ".join((*INPUT_TYPES, *self.by_name))
        problem = f"input_type is {input_type[:100]!r}; possible: {possible}"
        raise InvalidRequestError(problem, "input_type")
