"""Calls of chat/completions as the protocol understands them."""

from typing import Any

from server.protocol.openai.chat_completions import parse_chat_completion
from server.protocol.rendering import GenerationCall

MESSAGES = [{"role": "user", "content": "hi"}]


def parse(**fields: Any) -> GenerationCall:
    return parse_chat_completion({"model": "m", "messages": MESSAGES, **fields})
