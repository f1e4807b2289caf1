"""For how many requests one counts where the requests of a client are limited.

A replica counts what it has parsed, but only the front knows the requests of all replicas. It
counts by the names of fields; a replica refuses what has others.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["count_requests", "form_fields"]

# Each text, document or pair in these fields counts, by the last part of the path.
LISTS: Mapping[str, Sequence[str]] = {
    "classify": ("input",),
    "embed": ("texts", "inputs"),
    "embeddings": ("input",),
    "pooling": ("input",),
    "rerank": ("documents",),
    "score": ("text_1", "text_2", "queries", "documents", "items", "data_1", "data_2"),
}
# Each answer to a prompt, beam or image counts.
CHOICES = ("n", "best_of", "num_beams", "num_images_per_prompt")
HAVE_CHOICES = re.compile(r".*/((chat/)?completions|images/(generations|edits))")
# Of a form only short texts are looked at, and the files are skipped.
FORM_FIELD = re.compile(
    rb'name="?([a-z_]{1,32})"?[ \t]*\r\n(?:[^\r\n]{1,200}\r\n){0,4}\r\n([^\r\n]{0,1000})\r\n'
)
FORM_NAMES = frozenset({"model", *CHOICES})
MAX_FORM_FIELDS = 1000


def count_requests(path: str, fields: Mapping[str, Any]) -> int:
    """How many the request with these fields counts for; 1 for those that are not known."""
    if path.startswith("/mii/"):
        return _num_items(fields.get("prompts"))
    last = path.rpartition("/")[2]
    if last in LISTS:
        return max(_num_items(fields.get(name)) for name in LISTS[last])
    if HAVE_CHOICES.fullmatch(path) is None:
        return 1
    num_choices = max([1, *_integers(fields.get(name) for name in CHOICES)])
    has_prompts = last == "completions" and not path.endswith("/chat/completions")
    return num_choices * (_num_items(fields.get("prompt")) if has_prompts else 1)


def _num_items(value: object) -> int:
    """The members of a list that is not the token ids of one text."""
    if not isinstance(value, list) or not value or isinstance(value[0], int):
        return 1
    return len(value)


def _integers(values: Iterator[object]) -> Iterator[int]:
    for value in values:
        if isinstance(value, int):
            yield value
        elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            # In a form all are texts.
            yield int(value)


def form_fields(body: bytes) -> Mapping[str, str]:
    """The texts in a form that matter here, by their names."""
    found: dict[str, str] = {}
    start = body.find(b"name=")
    for _ in range(MAX_FORM_FIELDS):
        if start < 0:
            break
        field = FORM_FIELD.match(body, start)
        if field is not None and (name := field[1].decode()) in FORM_NAMES:
            found[name] = field[2].decode(errors="replace").strip()
        start = body.find(b"name=", start + 1)
    return found
