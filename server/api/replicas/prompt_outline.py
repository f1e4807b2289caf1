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
from server.errors import RequestError
from server.protocol.json_body import SMALL_BODY_BYTES, parse_json_object

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
MODEL_IN_PATH = re.compile(r"/v[12]/models/([^/:]+)")
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
    is_generation = GENERATION.fullmatch(path) is not None
    size = min(len(body) // CHARACTERS_PER_TOKEN, MAX_OTHER_TOKENS)
    named = MODEL_IN_PATH.match(path)
    other = PromptOutline(named[1] if named else "", num_tokens=size)
    if named or body.lstrip()[:1] != b"{" or not (is_generation or _is_small(body)):
        return other

    def read() -> PromptOutline:
        try:
            fields = parse_json_object(body, allows_nan=True)
        except RequestError:
            return other
        if not is_generation:
            return PromptOutline(_model_of(fields), (), (), size, _count_inputs(fields))
        return _outline(fields, salt)

    return await off_event_loop(read, len(body))


def _is_small(body: bytes) -> bool:
    return len(body) <= SMALL_BODY_BYTES


def _model_of(fields: Mapping[str, Any]) -> str:
    model = fields.get("model")
    return model if isinstance(model, str) else ""


def _outline(fields: Mapping[str, Any], salt: str) -> PromptOutline:
    model = _model_of(fields)
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
    return PromptOutline(model, tuple(blocks), tuple(turns[1:]), num_tokens, _count_choices(fields))


def _texts(fields: Mapping[str, Any]) -> Iterator[str]:
    """The prompt in pieces: one for what comes before the messages, and one for each message."""
    yield "".join(_text(fields[name]) for name in BEGINNINGS if fields.get(name))
    for name in ("messages", "input", "prompt"):
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


def _count_choices(fields: Mapping[str, Any]) -> int:
    prompts = fields.get("prompt")
    has_several = isinstance(prompts, list) and prompts and not isinstance(prompts[0], int)
    numbers = [fields.get(name) for name in ("n", "best_of", "num_beams")]
    num_choices = max([1, *(n for n in numbers if isinstance(n, int))])
    return num_choices * (len(prompts) if has_several and isinstance(prompts, list) else 1)


def _count_inputs(fields: Mapping[str, Any]) -> int:
    """Texts and documents count as one each, as the replica's model counts them."""
    counts = [1]
    for name in ("input", "inputs", "texts", "documents", "passages"):
        value = fields.get(name)
        if isinstance(value, list) and value and not isinstance(value[0], int):
            counts.append(len(value))
    return max(counts)
