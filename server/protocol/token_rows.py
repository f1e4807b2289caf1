"""Token ids of a text, brought to a length."""

from collections.abc import Sequence
from typing import Literal

__all__ = ["cut_tokens", "pad_tokens"]


def cut_tokens(tokens: Sequence[int], bare: Sequence[int], max_length: int) -> Sequence[int]:
    """Cut the end of a text off, and keep the special tokens around it.

    `tokens` are `bare`, which has no special tokens, with some before and after.
    """
    num_too_many = len(tokens) - max_length
    if num_too_many <= 0:
        return tokens
    num_special = len(tokens) - len(bare)
    places = range(num_special + 1)
    start = next((i for i in places if tokens[i : i + len(bare)] == bare), None)
    if start is None or num_special >= max_length:
        return tokens[:max_length]
    end = start + len(bare)
    return [*tokens[: end - num_too_many], *tokens[end:]]


def pad_tokens(
    tokens: Sequence[int], length: int, pad_id: int, side: Literal["left", "right"]
) -> Sequence[int]:
    """Fill up to a length."""
    padding = [pad_id] * (length - len(tokens))
    return [*padding, *tokens] if side == "left" else [*tokens, *padding]
