"""JSON as text: compact, and in ASCII."""

import json
from json.encoder import encode_basestring_ascii

__all__ = ["json_bytes", "json_string"]

# In ASCII on purpose: some clients split an event stream at U+2028 and U+0085 too.
json_string = encode_basestring_ascii


def json_bytes(value: object) -> bytes:
    """Compact JSON in ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
