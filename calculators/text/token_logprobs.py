"""Log probabilities of token ids -> of tokens as text, with their places in it."""

import codecs
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from calculators.text.byte_table import ByteTable
from server.payloads import TokenIdLogprobs, TokenLogprobs

__all__ = ["DescribedPrompt", "describe_token"]


def describe_token(
    table: ByteTable, entry: TokenIdLogprobs, text_offset: int, is_first: bool
) -> TokenLogprobs:
    """Describe an entry with the texts of its tokens; with `is_first` they begin a text."""
    top = tuple(
        _name(table, token_id, logprob, is_first, text_offset) for token_id, logprob in entry.top
    )
    return _name(table, entry.token_id, entry.logprob, is_first, text_offset, top)


@dataclass(frozen=True, slots=True)
class DescribedPrompt(Collection[TokenLogprobs]):
    """All tokens of a prompt, with their places in `text`; the first has no entry.

    They are described when they are read. Special tokens that a tokenizer puts around a text have
    no length in it. A tokenizer that normalises text gives tokens of another text; their places are
    estimated from their lengths.
    """

    table: ByteTable
    token_ids: Sequence[int]
    entries: Collection[TokenIdLogprobs]
    text: str

    def __len__(self) -> int:
        return len(self.token_ids)

    def __contains__(self, token: object) -> bool:
        return any(token == other for other in self)

    def __iter__(self) -> Iterator[TokenLogprobs]:
        table, text = self.table, self.text
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        offset = 0
        entries = iter(self.entries)
        for position, token_id in enumerate(self.token_ids):
            is_first = offset == 0
            if position == 0:
                yield _name(table, token_id, None, is_first, offset)
            else:
                yield describe_token(table, next(entries), offset, is_first)
            special = table.special_bytes.get(token_id)
            if special is None:
                raw = table.lookup_first(token_id) if is_first else table.lookup(token_id)
                offset = min(offset + len(decoder.decode(raw)), len(text))
            elif text.startswith(name := special.decode("utf-8", "replace"), offset):
                offset += len(name)


def _name(
    table: ByteTable,
    token_id: int,
    logprob: float | None,
    is_first: bool,
    text_offset: int,
    top: tuple[TokenLogprobs, ...] = (),
) -> TokenLogprobs:
    raw = table.special_bytes.get(token_id)
    if raw is None:
        raw = table.lookup_first(token_id) if is_first else table.lookup(token_id)
    return TokenLogprobs(raw.decode("utf-8", "replace"), raw, logprob, top, text_offset, token_id)
