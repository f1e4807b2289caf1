"""POST messages/count_tokens: JSON -> the prompt whose tokens are counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.payloads import GenerationRequest, TextTokenizer
from server.protocol.anthropic.messages import RULES, PromptFields
from server.protocol.field_rules import UnknownFields
from server.protocol.openai.chat_completions import parse_chat_completion
from server.protocol.tokenization import check_size
from server.protocol.validation import validate_fields

__all__ = ["CountedPrompt", "parse_count"]


@dataclass(frozen=True, slots=True)
class CountedPrompt:
    """A conversation of which only the number of tokens is wanted."""

    model: str
    request: GenerationRequest
    unknown_fields: UnknownFields

    def answer(
        self, model: str, tokenizer: TextTokenizer, max_model_len: int | None
    ) -> Mapping[str, Any]:
        """The members of the answer; called in a worker thread. Raises InvalidRequestError."""
        request = self.request
        text = tokenizer.render_chat(
            request.messages or (),
            request.tools,
            request.chat_template_kwargs,
            request.chat_options,
        )
        (text,) = check_size([text], "messages")
        return {"input_tokens": len(tokenizer.encode(text, add_special_tokens=False))}


def parse_count(body: Mapping[str, Any]) -> CountedPrompt:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(PromptFields, body, RULES)
    (request,) = parse_chat_completion(fields.chat_fields()).prompts
    return CountedPrompt(fields.model, request, RULES.unknown_fields(fields))
