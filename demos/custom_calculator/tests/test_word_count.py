import json
from typing import Any

import pytest
from custom_calculators.word_count import WordCountCalculator, WordCountOptions

from server.errors import InvalidRequestError
from server.graph.testing import CalculatorRunner
from server.payloads import HttpRequestPayload, HttpResponsePayload


async def post(body: bytes, options: WordCountOptions | None = None) -> list[HttpResponsePayload]:
    runner = CalculatorRunner(WordCountCalculator, options)
    request = HttpRequestPayload("POST", "/v3/word_count", {}, body)
    outputs = await runner.run({"HTTP_REQUEST_PAYLOAD": [request]})
    return outputs["HTTP_RESPONSE_PAYLOAD"]


async def post_json(options: WordCountOptions | None = None, **fields: Any) -> Any:
    (response,) = await post(json.dumps(fields).encode(), options)
    assert (response.status, response.content_type) == (200, "application/json")
    return json.loads(response.body)


async def test_unary() -> None:
    assert await post_json(text="The cat and the hat.") == {
        "num_words": 5,
        "words": {"the": 2, "cat": 1, "and": 1, "hat": 1},
    }


async def test_options() -> None:
    options = WordCountOptions(min_length=3, ignore_case=False)
    assert (await post_json(options, text="To The the"))["words"] == {"The": 1, "the": 1}


async def test_streaming_sends_an_event_for_each_line() -> None:
    events = await post(b'{"text": "one two\\nthree", "stream": true}')
    assert {event.content_type for event in events} == {"text/event-stream"}
    assert [event.body for event in events] == [
        b'data: {"num_words": 2, "words": {"one": 1, "two": 1}}\n\n',
        b'data: {"num_words": 1, "words": {"three": 1}}\n\n',
        b"data: [DONE]\n\n",
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON"),
        (b"\xff", "the body is not JSON"),
        (b"[" * 100_000, "the body is not JSON"),
        (b"[]", "the body must be a JSON object"),
        (b"{}", "text must be a string"),
        (b'{"text": 3}', "text must be a string"),
        (b'{"text": "", "stream": "yes"}', "stream must be true or false"),
    ],
)
async def test_bad_requests(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        await post(body)
