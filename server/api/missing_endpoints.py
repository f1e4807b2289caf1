"""Endpoints of TensorFlow Serving that are not here; a request to one is answered with its name."""

import re

__all__ = ["describe_missing"]

# The part of TensorFlow Serving's REST API that OVMS never had.
TENSORFLOW = re.compile(r"/v1/models/.+:(classify|regress)")


def describe_missing(path: str) -> str | None:
    """What to answer on a path that is not here; None for any other path."""
    found = TENSORFLOW.fullmatch(path)
    if found is None:
        return None
    return f"TensorFlow Serving's :{found[1]} is not here; :predict is"
