"""What decides, from outside of the engine, which tokens an answer may consist of."""

from typing import Protocol, Self

import numpy as np
import numpy.typing as npt


class TokenConstraint(Protocol):
    """The tokens that may come next in one choice, which must follow a form such as a JSON schema.

    End tokens are among them where the answer is complete. Only one thread at a time uses it.
    """

    def forbidden_tokens(self) -> npt.NDArray[np.bool_]:
        """bool[vocabulary]: what must not come next; at least one token is not forbidden."""

    def accept(self, token_id: int) -> None:
        """Move on by a token. Raises InvalidRequestError where the form is too complex for that."""

    def fork(self) -> Self:
        """A copy that goes on independently."""
