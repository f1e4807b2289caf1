"""Calls of text endpoints as the protocol understands them."""

from typing import Any

from server.payloads import SamplingParams
from server.protocol.generation_call import GenerationCall
from server.protocol.openai.chat_completions import parse_chat_completion

MESSAGES = [{"role": "user", "content": "hi"}]


def parse(**fields: Any) -> GenerationCall:
    return checked(parse_chat_completion({"model": "m", "messages": MESSAGES, **fields}))


def checked(call: GenerationCall) -> GenerationCall:
    """Check how the sampling fields agree, which is left to the node that runs the model."""
    for request in call.prompts:
        SamplingParams(**request.sampling)
    return call
