"""Endpoints of OVMS that are not here yet; a request to one is answered with its name."""

import re

from server.api.endpoint import PREFIXES

__all__ = ["describe_missing"]

OVMS_ENDPOINTS = (
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
)
PATHS = frozenset({"/metrics", *(f"{p}/{name}" for p in PREFIXES for name in OVMS_ENDPOINTS)})
# The part of TensorFlow Serving's REST API that OVMS never had.
TENSORFLOW = re.compile(r"/v1/models/.+:(classify|regress)")


def describe_missing(path: str) -> str | None:
    """What to answer on a path of OVMS that is not here; None for any other path."""
    if path in PATHS:
        return f"OVMS's endpoint {path} is not here yet"
    found = TENSORFLOW.fullmatch(path)
    if found is None:
        return None
    return f"TensorFlow Serving's :{found[1]} is not here; :predict is"
