"""A graph of one node that is a service of its own: POST /v3/word_count."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from server.errors import InvalidRequestError
from server.graph import Calculator, Contract, ProcessContext, Tag, UInt64
from server.payloads import HttpRequestPayload, HttpResponsePayload

__all__ = ["WordCountCalculator", "WordCountOptions"]

REQUEST = Tag("HTTP_REQUEST_PAYLOAD", HttpRequestPayload)
RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", HttpResponsePayload)


@dataclass(frozen=True)
class WordCountOptions:
    """Words shorter than `min_length` do not count; with `ignore_case`, The and the are one."""

    PROTO_NAME: ClassVar[str] = "custom_calculators.WordCountOptions"

    min_length: UInt64 = 1
    ignore_case: bool = True


class WordCountCalculator(Calculator):
    """Counts the words of a text: {"text": "...", "stream": false} in, {"words": {...}} out.

    With "stream" each line of the text gets an event of its own.
    """

    contract = Contract(inputs=(REQUEST,), outputs=(RESPONSE,), options=WordCountOptions)

    async def process(self, cc: ProcessContext) -> None:
        """Answer one HTTP request."""
        options = cc.options(WordCountOptions)
        output = cc.output(RESPONSE)
        async for request in cc.input(REQUEST):
            # An InvalidRequestError becomes the server's answer 400, with its message.
            text, is_stream = _read(request.body)
            if not is_stream:
                answer = _count(text, options)
                await output.send(HttpResponsePayload(json.dumps(answer).encode()))
                continue
            for line in text.splitlines():
                await output.send(_event(json.dumps(_count(line, options))))
            await output.send(_event("[DONE]"))


def _read(body: bytes) -> tuple[str, bool]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequestError("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise InvalidRequestError("the body must be a JSON object")
    text, is_stream = fields.get("text"), fields.get("stream", False)
    if not isinstance(text, str):
        raise InvalidRequestError("text must be a string", "text")
    if not isinstance(is_stream, bool):
        raise InvalidRequestError("stream must be true or false", "stream")
    return text, is_stream


def _count(text: str, options: WordCountOptions) -> dict[str, Any]:
    counts = Counter(_words(text, options))
    return {"num_words": counts.total(), "words": dict(counts.most_common())}


def _words(text: str, options: WordCountOptions) -> Iterator[str]:
    for word in re.findall(r"\w+", text):
        if len(word) >= options.min_length:
            yield word.casefold() if options.ignore_case else word


def _event(data: str) -> HttpResponsePayload:
    return HttpResponsePayload(f"data: {data}\n\n".encode(), content_type="text/event-stream")
