"""What the reader of a request gets."""

from server.engine.requests.generation import MAX_LOGPROBS_AT_ONCE, Generation, OutputCollector
from server.engine.requests.outputs import SequenceOutput
from server.payloads import SamplingParams, TokenIdLogprobs
from tests.support.engine_helpers import make_request

NUM_TOKENS = 2 * MAX_LOGPROBS_AT_ONCE + 5


async def test_a_whole_answer_with_log_probabilities_comes_in_parts() -> None:
    request = make_request([1, 2], SamplingParams(max_tokens=NUM_TOKENS))
    collector = OutputCollector(request)
    tokens = tuple(range(NUM_TOKENS))
    logprobs = tuple(TokenIdLogprobs(token, -1.0) for token in tokens)
    collector.put(SequenceOutput(request.request_id, 0, tokens, logprobs, "length", 7))
    generation = Generation(request, collector, lambda *_: None)
    parts = [part async for part in generation]
    assert [len(part.token_ids) for part in parts] == [MAX_LOGPROBS_AT_ONCE] * 2 + [5]
    assert [token for part in parts for token in part.token_ids] == [*tokens]
    assert [entry for part in parts for entry in part.logprobs or ()] == [*logprobs]
    assert [part.finish_reason for part in parts] == [None, None, "length"]
    assert {part.num_cached_tokens for part in parts} == {7}
