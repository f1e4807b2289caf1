"""The server without padding of steps and without warm-up at load.

fresh.py compares the server itself with it; the arguments are the server's.
"""

import sys

from server.cli.main import main
from server.engine import engine
from server.engine.model.step_sizes import StepSizes


def as_they_are(_: StepSizes, num_tokens: int) -> int:
    """No padding."""
    return num_tokens


def nothing(*_: object) -> None:
    """No warm-up."""


if __name__ == "__main__":
    StepSizes.padded = as_they_are  # type: ignore[method-assign]
    engine.warm_up = nothing  # type: ignore[attr-defined]
    sys.exit(main())
