"""What a constraint forbids as the next token, in the form that sampling reads fastest."""

import numpy as np
import numpy.typing as npt

__all__ = ["TokenMask"]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class TokenMask:
    """The shorter of two lists: `allowed` or `forbidden` tokens, ascending; the other one is None.

    Sampling then reads some logits of a row instead of all. Making it reads the whole mask,
    `is_forbidden` bool[vocabulary]; the engine does that while the device computes. Only tokens of
    `among`, if given, are allowed at all; these ascend.
    """

    __slots__ = ("allowed", "forbidden")

    def __init__(self, is_forbidden: Bools | None, among: Ints | None = None) -> None:
        self.allowed: Ints | None = None
        self.forbidden: Ints | None = None
        if is_forbidden is None:
            self.allowed = among
        elif among is not None:
            self.allowed = among[~is_forbidden[among]]
        elif 2 * np.count_nonzero(is_forbidden) > len(is_forbidden):
            self.allowed = np.flatnonzero(~is_forbidden)
        else:
            self.forbidden = np.flatnonzero(is_forbidden)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is allowed."""
        return self.allowed is not None and len(self.allowed) == 0

    @property
    def num_listed(self) -> int:
        """The length of its list."""
        listed = self.forbidden if self.allowed is None else self.allowed
        return 0 if listed is None else len(listed)

    def allows(self, token_id: int) -> bool:
        """Whether a token may come next."""
        listed = self.forbidden if self.allowed is None else self.allowed
        if listed is None:
            return True
        place = int(np.searchsorted(listed, token_id))
        is_listed = place < len(listed) and listed[place] == token_id
        return bool(is_listed) is (self.allowed is not None)

    def apply(self, row: npt.NDArray[np.float32]) -> None:
        """Give all other tokens of a row of logits -inf."""
        if self.forbidden is not None:
            row[self.forbidden] = -np.inf
        elif self.allowed is not None:
            kept = row[self.allowed]
            row[:] = -np.inf
            row[self.allowed] = kept
