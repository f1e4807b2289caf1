"""Chooses the next token of every sequence from the logits of a step."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import Logits
from server.engine.sampling.logits_processors import (
    LogitsChanges,
    apply_processors,
    has_processors,
    mask_of,
    only_mask,
)
from server.engine.sampling.logprobs import find_later
from server.engine.sampling.random_sampling import NO_TOKEN, NUM_UNIFORMS, sample_randomly
from server.engine.sampling.rejection_sampling import can_use_rejection, sample_by_rejection
from server.engine.sampling.some_tokens import MANY, only_tokens
from server.engine.sequence import Sequence
from server.engine.token_mask import TokenMask
from server.payloads import TokenIdLogprobs

Ints = npt.NDArray[np.int64]

BLOCK_ELEMENTS = 2**20
"""Logits that are copied together: many rows of a small vocabulary, few of a large one."""

NUM_LIKELIEST = 16
"""Tokens of a row among which an allowed one is likely, where MANY are allowed."""

BAD_LOGITS = "the model gave NaN or infinity instead of logits"


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A chosen token; `token_id` is None where the model gave no usable logits.

    `find_logprobs` finds what was asked about it; None where nothing was.
    """

    token_id: int | None
    find_logprobs: Callable[[], TokenIdLogprobs] | None = None

    @property
    def logprobs(self) -> TokenIdLogprobs | None:
        """The log probabilities that were asked for."""
        return None if self.find_logprobs is None else self.find_logprobs()


def sample(
    logits: Logits, sequences: Rows[Sequence], rows: Rows[int] | None = None
) -> list[SampledToken]:
    """Choose a token for each sequence.

    `rows[i]` is the row of `sequences[i]`; without `rows` it is i. Rows may repeat. The logits are
    not changed. The order is that of vLLM: constraint, allowed tokens, bad words, min_tokens,
    logit_bias, penalties, temperature, min_p, top_k, top_p. A sequence with a seed has a random
    generator of its own. Log probabilities are taken before all of these.
    """
    if not sequences:
        return []
    if rows is not None:
        logits = logits.select(list(rows))
    chosen = _choose_among_all(logits, sequences)
    left = np.flatnonzero(chosen == NO_TOKEN).tolist()
    for part, choose in _group(logits, sequences, rows, left):
        if not part:
            continue
        chosen[part] = choose(logits.select(part), [sequences[i] for i in part])
    is_good = (chosen != NO_TOKEN) & np.isfinite(logits.of_tokens(chosen))
    find_logprobs = _find_logprobs(logits, chosen, sequences, is_good)
    return [
        SampledToken(token, find_logprobs.get(i)) if good else SampledToken(None)
        for i, (token, good) in enumerate(zip(chosen.tolist(), is_good.tolist(), strict=True))
    ]


def _choose_among_all(logits: Logits, sequences: Rows[Sequence]) -> Ints:
    """The tokens of masked sequences that are found without reading their masks' lists.

    NO_TOKEN for others. The likeliest of all tokens is the likeliest allowed one if it is allowed;
    a random token that is drawn again until an allowed one comes has the right probability.
    """
    chosen = np.full(len(sequences), NO_TOKEN)
    masks = {i: mask for i, s in enumerate(sequences) if (mask := only_mask(s)) is not None}
    greedy = [i for i in masks if sequences[i].request.params.is_greedy]
    if greedy:
        chosen[greedy] = _likeliest_allowed(logits.select(greedy), [masks[i] for i in greedy])
    random = [
        i
        for i, mask in masks.items()
        if mask.num_listed >= MANY
        and not sequences[i].request.params.is_greedy
        and _can_use_rejection(sequences[i], logits.vocab_size)
    ]
    random = [i for i, high in zip(random, logits.highest[random], strict=True) if isfinite(high)]
    if random:
        chosen[random] = _reject(
            logits.select(random), [sequences[i] for i in random], [masks[i] for i in random]
        )
    return chosen


def _likeliest_allowed(logits: Logits, masks: Rows[TokenMask]) -> Ints:
    """The likeliest allowed token of each row if it is among the first; else NO_TOKEN."""
    chosen = logits.argmax()
    is_allowed = [mask.allows(token) for mask, token in zip(masks, chosen.tolist(), strict=True)]
    others = np.flatnonzero(np.logical_not(is_allowed))
    chosen[others] = NO_TOKEN
    long = [i for i in others.tolist() if masks[i].num_listed >= MANY]
    if long:
        found = logits.select(long).likeliest(NUM_LIKELIEST)
        for i, tokens, values in zip(long, found.token_ids, found.values, strict=True):
            possible = tokens[values > -np.inf].tolist()
            chosen[i] = next((token for token in possible if masks[i].allows(token)), NO_TOKEN)
    return chosen


def _group(
    logits: Logits, sequences: Rows[Sequence], rows: Rows[int] | None, left: Rows[int]
) -> Iterator[tuple[list[int], Callable[[Logits, list[Sequence]], Ints]]]:
    """Groups of the sequences in `left` by how their logits are processed, and functions for them.

    A row is changed in place, once; where several sequences change it, the others have copies.
    """
    plain, in_place, copied = [], [], []
    rows_in_place = set()
    for i in left:
        row = i if rows is None else rows[i]
        if not has_processors(sequences[i]):
            plain.append(i)
        elif row in rows_in_place:
            copied.append(i)
        else:
            in_place.append(i)
            rows_in_place.add(row)
    yield plain, _choose
    yield in_place, _choose_in_place
    rows_at_once = max(1, BLOCK_ELEMENTS // logits.vocab_size)
    for start in range(0, len(copied), rows_at_once):
        yield copied[start : start + rows_at_once], _choose_copied


def _choose_in_place(logits: Logits, sequences: list[Sequence]) -> Ints:
    changes = LogitsChanges(sequences, logits.row_starts, logits.vocab_size)
    with logits.processed_in_place(changes.places, changes.apply) as processed:
        chosen = np.empty(len(sequences), np.int64)
        for part, allowed in _alike_in_size([_allowed(sequence) for sequence in sequences]):
            rows, of_part = processed.select(part), [sequences[i] for i in part]
            chosen[part] = (
                _choose_among(rows, of_part, allowed) if allowed else _choose(rows, of_part)
            )
        return chosen


def _allowed(sequence: Sequence) -> Ints | None:
    mask = mask_of(sequence)
    return None if mask is None else mask.allowed


def _alike_in_size(allowed: list[Ints | None]) -> Iterator[tuple[list[int], list[Ints]]]:
    """Groups of sequences: those without a list of allowed tokens, others by its length.

    Lists of MANY tokens are apart from shorter ones.
    """
    groups: dict[int, list[int]] = {}
    for i, token_ids in enumerate(allowed):
        size = 0 if token_ids is None else 1 + len(token_ids).bit_length() // 4
        groups.setdefault(size, []).append(i)
    for part in groups.values():
        yield part, [ids for i in part if (ids := allowed[i]) is not None]


def _choose_among(logits: Logits, sequences: list[Sequence], allowed: list[Ints]) -> Ints:
    """As `_choose`; where lists of allowed tokens are given, only among these."""
    if not allowed:
        return _choose(logits, sequences)
    places = _choose(only_tokens(logits, allowed), sequences).tolist()
    # A row without usable logits may have a place behind its tokens.
    tokens = [
        int(ids[place]) if 0 <= place < len(ids) else NO_TOKEN
        for ids, place in zip(allowed, places, strict=True)
    ]
    return np.array(tokens, np.int64)


def _choose_copied(logits: Logits, sequences: list[Sequence]) -> Ints:
    processed = logits.processed_copy(lambda i, row: apply_processors(row, sequences[i]))
    return _choose(processed, sequences)


def _choose(logits: Logits, sequences: list[Sequence]) -> Ints:
    """The likeliest token for greedy sequences, a random one for others."""
    chosen = logits.argmax()
    is_random = np.array([not s.request.params.is_greedy for s in sequences], bool)
    # Where argmax finds infinity, the caller reports the row as unusable.
    random = np.flatnonzero(is_random & np.isfinite(logits.of_tokens(chosen)))
    if len(random):
        chosen[random] = _sample_randomly(logits.select(random), [sequences[i] for i in random])
    return chosen


def _sample_randomly(logits: Logits, sequences: list[Sequence]) -> Ints:
    """A random token of each row: by rejection where that is possible, else exactly."""
    params = [sequence.request.params for sequence in sequences]
    chosen = np.full(len(sequences), NO_TOKEN)
    vocab_size = logits.vocab_size
    tried = [i for i, s in enumerate(sequences) if _can_use_rejection(s, vocab_size)]
    if tried:
        chosen[tried] = _reject(logits.select(tried), [sequences[i] for i in tried])
    others = np.flatnonzero(chosen == NO_TOKEN)
    if len(others):
        uniforms = np.array([sequences[i].rng.random(NUM_UNIFORMS) for i in others])
        chosen[others] = sample_randomly(
            logits.select(others), [params[i] for i in others], uniforms
        )
    return chosen


def _can_use_rejection(sequence: Sequence, vocab_size: int) -> bool:
    return can_use_rejection(sequence.request.params, vocab_size) and not sequence.draws_alone


def _reject(
    logits: Logits, sequences: Rows[Sequence], masks: Rows[TokenMask] | None = None
) -> Ints:
    temperatures = np.array([s.request.params.temperature for s in sequences], np.float32)
    # Without a seed it does not matter whose generator is used.
    return sample_by_rejection(logits, temperatures, sequences[0].rng, masks)


def _find_logprobs(
    logits: Logits, chosen: Ints, sequences: Rows[Sequence], is_good: npt.NDArray[np.bool_]
) -> dict[int, Callable[[], TokenIdLogprobs]]:
    """Log probabilities by the index of the sequence, for those that asked for them."""
    num_top = [s.request.params.logprobs for s in sequences]
    wanted = [i for i, num in enumerate(num_top) if num is not None and is_good[i]]
    if not wanted:
        return {}
    which = np.array(wanted)
    found = find_later(logits.select(which), chosen[which], [num_top[i] or 0 for i in wanted])
    return dict(zip(wanted, found, strict=True))
