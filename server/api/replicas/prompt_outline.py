"""What routing needs to know of a request: its model, and hashes of the beginnings of its prompt.

The engine of a replica keeps the KV blocks of prompts. It is not known here how a prompt becomes
tokens, but prompts with the same text in the same order share their blocks.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server.api.off_event_loop import off_event_loop
from server.api.paths import clean_path
from server.api.replicas.request_count import count_requests, form_fields
from server.errors import RequestError
from server.protocol.json_body import parse_json_object

__all__ = ["PromptOutline", "outline_of"]

# About 32 tokens, the engine's block.
BLOCK_CHARACTERS = 128
CHARACTERS_PER_TOKEN = 4
# Longer prompts are told apart by what comes before: half a million characters.
MAX_BLOCKS = 4096
# A body that is no prompt, an image for example, counts for no more.
MAX_OTHER_TOKENS = 8192
MAX_CHARACTERS = 2**20
HALF = 2**15
IDS_AT_ONCE = 4096
GENERATION = re.compile(r".*/(chat/completions|completions|responses|messages)$")
MII = re.compile(r"/mii/(.+)")
# The name may have slashes.
MODEL_IN_PATH = re.compile(
    r"/v[12]/models/(.+?)(/(versions|labels)/[^/:]+)?(/(infer|ready|metadata)|:[a-z]+)?"
)
# What comes before the messages in a prompt, in this order.
BEGINNINGS = ("tools", "system", "instructions")


@dataclass(frozen=True, slots=True)
class PromptOutline:
    """`blocks` has a hash for each whole block of text, `turns` one for the end of each message.

    Each hash covers all that comes before, too. `num_requests` is how many a client's limit counts.
    """

    model: str = ""
    blocks: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()
    num_tokens: int = 0
    num_requests: int = 1


async def outline_of(path: str, body: bytes, salt: str) -> PromptOutline:
    """Outline a request. Prompts with different salts share nothing.

    A body that cannot be read has an outline too; its replica says what is wrong with it.
    """
    path = clean_path(path)
    deployment = MII.fullmatch(path)
    is_generation = deployment is not None or GENERATION.fullmatch(path) is not None
    size = min(len(body) // CHARACTERS_PER_TOKEN, MAX_OTHER_TOKENS)
    if named := MODEL_IN_PATH.fullmatch(path):
        return PromptOutline(named[1], num_tokens=size)

    def read() -> PromptOutline:
        fields: Mapping[str, Any]
        if body.startswith(b"--"):
            fields = form_fields(body)
        elif body.lstrip()[:1] == b"{":
            try:
                fields = parse_json_object(body, allows_nan=True)
            except RequestError:
                fields = {}
        else:
            fields = {}
        model = deployment[1] if deployment else _model_of(fields)
        num_requests = count_requests(path, fields)
        if not is_generation or not fields:
            return PromptOutline(model, num_tokens=size, num_requests=num_requests)
        return _outline(fields, model, salt, num_requests)

    return await off_event_loop(read, len(body))


def _model_of(fields: Mapping[str, Any]) -> str:
    model = fields.get("model")
    return model if isinstance(model, str) else ""


def _outline(fields: Mapping[str, Any], model: str, salt: str, num_requests: int) -> PromptOutline:
    chain = hash((model, salt, str(fields.get("cache_salt"))))
    turns, rest, num_characters = [chain], "", 0
    blocks: list[int] = []
    for text in _texts(fields):
        turns.append(hash((turns[-1], text)))
        num_characters += len(text)
        rest += text
        num_whole = min(len(rest) // BLOCK_CHARACTERS, MAX_BLOCKS - len(blocks))
        for start in range(0, num_whole * BLOCK_CHARACTERS, BLOCK_CHARACTERS):
            chain = hash((chain, rest[start : start + BLOCK_CHARACTERS]))
            blocks.append(chain)
        rest = rest[num_whole * BLOCK_CHARACTERS :] if len(blocks) < MAX_BLOCKS else ""
    num_tokens = num_characters // CHARACTERS_PER_TOKEN
    return PromptOutline(model, tuple(blocks), tuple(turns[1:]), num_tokens, num_requests)


def _texts(fields: Mapping[str, Any]) -> Iterator[str]:
    """The prompt in pieces: one for what comes before the messages, and one for each message."""
    yield "".join(_text(fields[name]) for name in BEGINNINGS if fields.get(name))
    for name in ("messages", "input", "prompt", "prompts"):
        value = fields.get(name)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from map(_text, value)
        elif value is not None:
            yield _text(value)


def _text(value: Any) -> str:
    return "\n".join(_pieces(value))


def _pieces(value: Any) -> Iterator[str]:
    """All text in a JSON value; no single call takes long, as other threads wait meanwhile."""
    if isinstance(value, str):
        is_long = len(value) > MAX_CHARACTERS
        # An image, say: its ends and its length tell it from others well enough.
        yield f"{value[:HALF]}{len(value)}{value[-HALF:]}" if is_long else value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _pieces(member)
    elif isinstance(value, list) and value and isinstance(value[0], int):
        for start in range(0, len(value), IDS_AT_ONCE):
            yield str(value[start : start + IDS_AT_ONCE])
    elif isinstance(value, list):
        for item in value:
            yield from _pieces(item)
    else:
        yield str(value)
