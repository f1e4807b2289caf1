"""What an endpoint does, in one word: the first word of the name of a request's span."""

import re

__all__ = ["INFER", "operation_of"]

INFER = "infer"

# The ends of paths; "chat", "text_completion" and "embeddings" are OpenTelemetry's own names.
OPERATIONS = {
    "chat/completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "embed": "embeddings",
    "pooling": "embeddings",
    "rerank": "rerank",
    "score": "score",
    "classify": "classify",
    "audio/speech": "speech",
    "audio/transcriptions": "transcription",
    "audio/translations": "translation",
    "images/generations": "image_generation",
    "images/edits": "image_edit",
    "tokenize": "tokenize",
    "detokenize": "detokenize",
    "messages/count_tokens": "count_tokens",
}
PREDICT = re.compile(r":(predict|classify|regress)")


def operation_of(route: str) -> str | None:
    """The operation of a route, written as aiohttp's routes are; None for what runs no model."""
    parts = route.strip("/").split("/")
    for count in (2, 1):
        found = OPERATIONS.get("/".join(parts[-count:]))
        if found is not None:
            return found
    if parts[-1] == "infer":
        return INFER
    predict = PREDICT.search(route)
    if predict is not None:
        return predict[1]
    # Graphs that are services of their own.
    return "raw" if "{endpoint" in route else None
