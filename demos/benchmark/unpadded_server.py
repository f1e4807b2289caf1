"""The server without padding of steps and without warm-up.

fresh.py compares the server itself with it; the arguments are the server's.
"""

import sys

from server.cli.main import main
from server.engine.model.step_sizes import StepSizes
from server.engine.model.warm_up import WarmUp


def as_they_are(_: StepSizes, num_tokens: int) -> int:
    """No padding."""
    return num_tokens


def nothing(*_: object) -> None:
    """No warm-up."""


if __name__ == "__main__":
    StepSizes.padded = as_they_are  # type: ignore[method-assign]
    WarmUp.start = nothing  # type: ignore[assignment]
    WarmUp.next_s = None  # type: ignore[assignment]
    sys.exit(main())
