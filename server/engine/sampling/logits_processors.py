"""What changes a sequence's logits: constraint, allowed tokens, bad words, min_tokens, logit_bias
and penalties.
"""

from collections.abc import Sequence as Rows

import numpy as np
import numpy.typing as npt

from server.engine.sequence import PenaltyCounts, Sequence
from server.engine.token_mask import TokenMask

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LOWEST_REPETITION_PENALTY, HIGHEST_REPETITION_PENALTY = 1e-6, 1e6
"""Penalties beyond these have the same effect, but overflow f32."""

NUM_FIRST = 512
"""Tokens of a row among which one is nearly always possible."""

NO_TOKENS = np.zeros(0, np.int64)


def has_processors(sequence: Sequence) -> bool:
    """Whether processors may change logits of this sequence."""
    return mask_of(sequence) is not None or _changes_some(sequence)


def only_mask(sequence: Sequence) -> TokenMask | None:
    """The tokens that may come next, where processors do no more than to forbid the others."""
    mask = mask_of(sequence)
    return None if mask is None or _changes_some(sequence) else mask


def mask_of(sequence: Sequence) -> TokenMask | None:
    """The tokens that may come next; None where all may."""
    return sequence.mask or sequence.request.allowed


def apply_processors(row: Floats, sequence: Sequence) -> None:
    """Change a row of logits in place, in vLLM's order."""
    mask = mask_of(sequence)
    if mask is not None:
        mask.apply(row)
    LogitsChanges([sequence], np.zeros(1, np.int64), len(row)).apply(row)


class LogitsChanges:
    """The changes to some logits of some sequences; all but the lists of allowed tokens.

    `starts` is where the row of each sequence begins in an array of all logits, and `places` are
    those in the array that `apply` may write to.
    """

    def __init__(self, sequences: Rows[Sequence], starts: Ints, vocab_size: int) -> None:
        self._sequences, self._starts, self._vocab_size = sequences, starts, vocab_size
        self._forbidden = self._places([_forbidden(s) for s in sequences])
        excluded = [_excluded(s) for s in sequences]
        self._excluded = {i: ids for i, ids in enumerate(excluded) if len(ids)}
        self._biased = self._places([s.request.biased_token_ids for s in sequences])
        self._counts = {
            i: _penalty_counts(s) for i, s in enumerate(sequences) if s.request.has_penalties
        }
        numbers = list(self._counts)
        counted = [counts.token_ids.view() for counts in self._counts.values()]
        self._penalised = self._places(counted, numbers)
        of_excluded = self._places(list(self._excluded.values()), list(self._excluded))
        self.places: Ints = np.concatenate(
            [self._forbidden, of_excluded, self._biased, self._penalised]
        )

    def apply(self, logits: Floats) -> None:
        """Change the array of all logits in place, in vLLM's order."""
        logits[self._forbidden] = -np.inf
        for number, token_ids in self._excluded.items():
            start = self._starts[number]
            mask = mask_of(self._sequences[number])
            _exclude(
                logits[start : start + self._vocab_size],
                token_ids,
                None if mask is None else mask.allowed,
            )
        if len(self._biased):
            logits[self._biased] += np.concatenate([s.request.biases for s in self._sequences])
        if self._counts:
            self._apply_penalties(logits)

    def _places(self, token_ids: list[Ints], numbers: list[int] | None = None) -> Ints:
        """Where these tokens are, given for all sequences or for those with these numbers."""
        starts = self._starts if numbers is None else self._starts[numbers]
        places: Ints = np.concatenate([*token_ids, NO_TOKENS])
        return places + np.repeat(starts, [len(ids) for ids in token_ids])

    def _apply_penalties(self, logits: Floats) -> None:
        """Repetition penalty (CTRL, arXiv 1909.05858) over all tokens, others over the answer."""
        params = [self._sequences[i].request.params for i in self._counts]
        sizes = [counts.token_ids.size for counts in self._counts.values()]
        values = logits[self._penalised]
        factors = np.array([p.repetition_penalty for p in params])
        if (factors != 1).any():
            limited = np.clip(factors, LOWEST_REPETITION_PENALTY, HIGHEST_REPETITION_PENALTY)
            factor = np.repeat(limited.astype(np.float32), sizes)
            values = np.where(values > 0, values / factor, values * factor)
        frequency = np.array([p.frequency_penalty for p in params])
        presence = np.array([p.presence_penalty for p in params])
        if frequency.any() or presence.any():
            generated = np.concatenate([c.generated.view() for c in self._counts.values()])
            values -= np.repeat(frequency, sizes) * generated
            values -= np.repeat(presence, sizes) * (generated > 0)
        logits[self._penalised] = values


def _changes_some(sequence: Sequence) -> bool:
    """Whether processors change logits without forbidding all tokens but a few."""
    return sequence.request.changes_logits or _has_min_tokens_left(sequence)


def _forbidden(sequence: Sequence) -> Ints:
    mask = mask_of(sequence)
    return NO_TOKENS if mask is None or mask.forbidden is None else mask.forbidden


def _has_min_tokens_left(sequence: Sequence) -> bool:
    request = sequence.request
    num_wanted = request.params.min_tokens
    return (
        num_wanted > 0
        and sequence.num_generated_tokens < num_wanted
        and bool(request.end_token_ids)
    )


def _excluded(sequence: Sequence) -> Ints:
    """Tokens that come next only where no other one may."""
    request = sequence.request
    excluded = _bad_tokens(sequence) if request.bad_words else []
    if _has_min_tokens_left(sequence):
        excluded += request.end_token_ids
    return np.array(excluded, np.int64) if excluded else NO_TOKENS


def _bad_tokens(sequence: Sequence) -> list[int]:
    """The last tokens of the bad words whose other tokens the answer ends with."""
    found: list[int] = []
    for length, last_tokens in sequence.request.bad_words.items():
        start = sequence.num_tokens - length
        if start >= sequence.num_prompt_tokens:
            found += last_tokens.get(tuple(sequence.token_ids.view(start).tolist()), ())
    return found


def _exclude(row: Floats, token_ids: Ints, allowed: Ints | None) -> None:
    """Exclude tokens, unless nothing else is allowed."""
    kept = row[token_ids]
    row[token_ids] = -np.inf
    if not _has_possible(row, allowed):
        row[token_ids] = kept


def _has_possible(row: Floats, allowed: Ints | None) -> bool:
    """Whether any logit, or any of the allowed tokens', is not -inf."""
    if allowed is not None:
        row = row[allowed]
    return any(
        bool(part.max(initial=-np.inf) != -np.inf) for part in (row[:NUM_FIRST], row[NUM_FIRST:])
    )


def _penalty_counts(sequence: Sequence) -> PenaltyCounts:
    if sequence.penalty_counts is None:
        sequence.penalty_counts = PenaltyCounts(sequence)
    return sequence.penalty_counts
