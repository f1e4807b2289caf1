"""POST messages/count_tokens: JSON -> the prompt whose tokens are counted."""

from collections.abc import Mapping
from typing import Any

from server.payloads import TextTokenizer
from server.protocol.anthropic.messages import RULES, PromptFields
from server.protocol.tokenization import TokenizeFields
from server.protocol.validation import validate_fields

__all__ = ["parse_count"]


class _CountedPrompt(TokenizeFields):
    """A conversation of which only the number of tokens is wanted."""

    def answer(
        self, model: str, tokenizer: TextTokenizer, max_model_len: int | None
    ) -> Mapping[str, Any]:
        return {"input_tokens": super().answer(model, tokenizer, max_model_len)["count"]}


def parse_count(body: Mapping[str, Any]) -> TokenizeFields:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(PromptFields, body, RULES).chat_fields()
    names = ("model", "messages", "tools", "chat_template_kwargs")
    return _CountedPrompt(**{name: fields[name] for name in names})
