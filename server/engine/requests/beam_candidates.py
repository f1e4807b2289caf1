"""The likeliest next tokens of a beam, from the logits of a step."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.engine.sampling.logits import Logits, TokenLogits
from server.engine.sampling.logits_processors import (
    LogitsChanges,
    apply_processors,
    has_processors,
    mask_of,
)
from server.engine.sampling.logprobs import log_sums
from server.engine.sequence import Sequence
from server.payloads import TokenIdLogprobs

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The likeliest next tokens of one beam, best first.

    `logprobs` are the model's own log probabilities, `scores` those after penalties and biases.
    `top` are the model's likeliest tokens, where the request asks for them.
    """

    token_ids: Ints
    scores: Floats
    logprobs: Floats
    top: tuple[tuple[int, float], ...]

    def entry(self, position: int) -> TokenIdLogprobs:
        """The log probabilities to report if this candidate is chosen."""
        token, logprob = self.token_ids[position], self.logprobs[position]
        return TokenIdLogprobs(int(token), float(logprob), self.top)


def find_candidates(logits: Logits, sequences: Rows[Sequence]) -> list[Candidates | None]:
    """The likeliest tokens after each sequence; None where the model gave no usable logits.

    There are enough that every beam has `num_beams` continuations that do not end. `logits` has a
    row for each sequence, and is not changed. As in transformers, penalties and biases apply to log
    probabilities, which are not normalised again.
    """
    is_usable = np.isfinite(logits.of_tokens(logits.argmax()))
    usable = np.flatnonzero(is_usable).tolist()
    candidates: list[Candidates | None] = [None] * len(sequences)
    found = _find_usable(logits.select(usable), [sequences[i] for i in usable])
    for i, of_row in zip(usable, found, strict=True):
        candidates[i] = of_row
    return candidates


def _find_usable(logits: Logits, sequences: list[Sequence]) -> list[Candidates]:
    norms = log_sums(logits).astype(np.float32)
    params = [sequence.request.params for sequence in sequences]
    best = logits.likeliest(max((p.logprobs or 0 for p in params), default=0))
    candidates: dict[int, Candidates] = {}
    for part, find in _group(sequences):
        counts = [params[i].num_beams + len(sequences[i].request.end_token_ids) for i in part]
        rows, norm = logits.select(part), norms[part]
        found = find(rows, [sequences[i] for i in part], norm, max(counts))
        scores = found.values - norm[:, None]
        of_each = rows.select(np.repeat(np.arange(len(part)), found.token_ids.shape[1]))
        logprobs = of_each.of_tokens(found.token_ids.ravel()).reshape(scores.shape)
        logprobs -= norm[:, None]
        is_possible = np.isfinite(scores)
        are_all = is_possible.all(axis=1).tolist()
        for place, (i, count) in enumerate(zip(part, counts, strict=True)):
            which = slice(count) if are_all[place] else np.flatnonzero(is_possible[place, :count])
            candidates[i] = Candidates(
                found.token_ids[place, which],
                scores[place, which],
                logprobs[place, which],
                _top(best, i, params[i].logprobs or 0, norms[i]),
            )
    return [candidates[i] for i in range(len(sequences))]


def _top(best: TokenLogits, row: int, num: int, norm: np.float32) -> tuple[tuple[int, float], ...]:
    """The `num` likeliest tokens of a row and their log probabilities."""
    if num == 0:
        return ()
    values = (best.values[row, :num] - norm).tolist()
    return tuple(zip(best.token_ids[row, :num].tolist(), values, strict=True))


def _group(
    sequences: Rows[Sequence],
) -> Iterator[tuple[list[int], Callable[[Logits, list[Sequence], Floats, int], TokenLogits]]]:
    """Groups of sequences by how their logits are processed, and the function for each."""
    plain, in_place, copied = [], [], []
    for i, sequence in enumerate(sequences):
        if not has_processors(sequence):
            plain.append(i)
        elif mask_of(sequence) is None:
            in_place.append(i)
        else:
            copied.append(i)
    groups = (plain, _find_plain), (in_place, _find_in_place), (copied, _find_copied)
    return ((part, find) for part, find in groups if part)


def _find_plain(
    logits: Logits, sequences: list[Sequence], norms: Floats, count: int
) -> TokenLogits:
    return logits.likeliest(count)


def _find_in_place(
    logits: Logits, sequences: list[Sequence], norms: Floats, count: int
) -> TokenLogits:
    starts = logits.row_starts
    changes = LogitsChanges(sequences, starts, logits.vocab_size)
    norm = norms[np.searchsorted(starts, changes.places, "right") - 1]

    def change(all_logits: Floats) -> None:
        all_logits[changes.places] -= norm
        changes.apply(all_logits)
        all_logits[changes.places] += norm

    with logits.processed_in_place(changes.places, change) as processed:
        return processed.likeliest(count)


def _find_copied(
    logits: Logits, sequences: list[Sequence], norms: Floats, count: int
) -> TokenLogits:
    def process(index: int, row: Floats) -> None:
        row -= norms[index]
        apply_processors(row, sequences[index])
        row += norms[index]

    return logits.processed_copy(process).likeliest(count)
