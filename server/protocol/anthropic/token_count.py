"""POST messages/count_tokens: JSON -> the prompt whose tokens are counted."""

from collections.abc import Mapping
from typing import Any

from server.protocol.anthropic.messages import RULES, PromptFields
from server.protocol.openai.chat_completions import parse_chat_completion
from server.protocol.rendered_prompt import PromptCall
from server.protocol.validation import validate_fields

__all__ = ["parse_count"]


def parse_count(body: Mapping[str, Any]) -> PromptCall:
    """Parse a request body. Raises InvalidRequestError."""
    fields = validate_fields(PromptFields, body, RULES)
    prompts = parse_chat_completion(fields.chat_fields()).prompts
    return PromptCall(
        fields.model,
        prompts,
        lambda _, tokens: {"input_tokens": len(tokens[0])},
        RULES.unknown_fields(fields),
    )
