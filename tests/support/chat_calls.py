"""Calls of chat/completions as the protocol understands them."""

from typing import Any

from server.api.protocol.answer import GenerationCall
from server.api.protocol.chat_completions import parse_chat_completion

MESSAGES = [{"role": "user", "content": "hi"}]


def parse(**fields: Any) -> GenerationCall:
    return parse_chat_completion({"model": "m", "messages": MESSAGES, **fields})
