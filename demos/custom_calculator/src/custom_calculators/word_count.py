"""A graph of one node that is a service of its own: POST /v3/word_count."""

import json
import re
from collections import Counter
from dataclasses import dataclass

from calculators.tags import HTTP_REQUEST_PAYLOAD, HTTP_RESPONSE_PAYLOAD
from server.errors import InvalidRequestError
from server.graph import Calculator, Contract, ProcessContext, UInt64
from server.payloads import HttpResponsePayload

__all__ = ["WordCountCalculator", "WordCountOptions"]


@dataclass(frozen=True)
class WordCountOptions:
    """Words shorter than `min_length` do not count; with `ignore_case`, The and the are one."""

    min_length: UInt64 = 1
    ignore_case: bool = True


class WordCountCalculator(Calculator[WordCountOptions]):
    """Counts the words of a text: {"text": "...", "stream": false} in, {"words": {...}} out.

    With "stream" each line of the text gets an event of its own.
    """

    contract = Contract(inputs=(HTTP_REQUEST_PAYLOAD,), outputs=(HTTP_RESPONSE_PAYLOAD,))

    async def process(self, cc: ProcessContext) -> None:
        """Answer one HTTP request."""
        request = await cc.receive(HTTP_REQUEST_PAYLOAD)
        # An InvalidRequestError becomes the server's answer 400, with its message.
        text, is_stream = _read(request.body)
        if not is_stream:
            await cc.send(HTTP_RESPONSE_PAYLOAD, HttpResponsePayload(self._count(text)))
            return
        for line in text.splitlines():
            await cc.send(HTTP_RESPONSE_PAYLOAD, _event(self._count(line)))
        await cc.send(HTTP_RESPONSE_PAYLOAD, _event(b"[DONE]"))

    def _count(self, text: str) -> bytes:
        words = (word for word in re.findall(r"\w+", text) if len(word) >= self.options.min_length)
        counts = Counter(word.casefold() if self.options.ignore_case else word for word in words)
        answer = {"num_words": counts.total(), "words": dict(counts.most_common())}
        return json.dumps(answer).encode()


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


def _event(data: bytes) -> HttpResponsePayload:
    return HttpResponsePayload(b"data: %b\n\n" % data, content_type="text/event-stream")
