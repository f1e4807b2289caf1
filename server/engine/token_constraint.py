"""What a grammar must offer so that the engine can keep an answer to it."""

from typing import Protocol, Self

import numpy as np
import numpy.typing as npt


class TokenConstraint(Protocol):
    """The tokens that may come next in one choice that must follow a grammar or a JSON schema.

    End tokens are among them where the answer is complete. Only one thread at a time uses it.
    """

    @property
    def can_complete(self) -> bool:
        """Whether answers can be complete, so that only an end token may come next."""

    def forbidden_tokens(self) -> npt.NDArray[np.bool_] | None:
        """bool[vocabulary]: what must not come next; at least one token is not forbidden.

        None forbids nothing, and costs nothing.

        The engine calls it while the device computes. Raises InvalidRequestError where the grammar
        becomes too complex.
        """

    def accept(self, token_id: int) -> None:
        """Move on by a token; cheap, as the device waits meanwhile."""

    def fork(self) -> Self:
        """A copy that goes on independently."""
