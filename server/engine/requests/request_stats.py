"""Counts requests and tokens with their times, for the metrics."""

from time import perf_counter

from server.engine.sequence import EngineRequest, Sequence
from server.host.metrics import EngineStats


class RequestStats:
    """Used by the engine's thread only. Between `begin_step` and `end_step` come the tokens."""

    def __init__(self, stats: EngineStats) -> None:
        self._stats = stats
        self._now_s = 0.0
        self._last_s = float("nan")
        self._num_alike = 0

    def begin_step(self) -> None:
        """All tokens until `end_step` came now."""
        self._now_s = perf_counter()

    def note_token(self, sequence: Sequence) -> None:
        """A sequence got a token."""
        last_s = sequence.last_token_s
        sequence.last_token_s = self._now_s
        self._stats.generated_tokens += 1
        # Nearly all sequences got their last token in the same step.
        if last_s == self._last_s:
            self._num_alike += 1
            return
        if last_s:
            self.end_step()
            self._last_s, self._num_alike = last_s, 1
        elif sequence.request.first_token_s is None:
            self._note_first_token(sequence.request, self._now_s)

    def end_step(self) -> None:
        """Count the times between tokens that were noted."""
        if self._num_alike:
            gap_s = self._now_s - self._last_s
            self._stats.inter_token.observe(gap_s, self._num_alike)
            self._stats.fine_inter_token.observe(gap_s, self._num_alike)
        # A sequence without a token has the time 0, and no other one NaN.
        self._last_s, self._num_alike = float("nan"), 0

    def note_end(self, request: EngineRequest, reason: str) -> None:
        """A request is over: stop, length, abort or error."""
        stats, now_s = self._stats, perf_counter()
        stats.finished[reason] += 1
        stats.whole.observe(now_s - request.arrived_s)
        num_prompt_tokens = len(request.prompt_token_ids)
        stats.prompt_sizes.observe(num_prompt_tokens)
        stats.num_preemptions.observe(request.num_preemptions)
        if request.started_s is not None:
            stats.queue.observe(request.started_s - request.arrived_s)
            stats.inference.observe(now_s - request.started_s)
            stats.computed_sizes.observe(num_prompt_tokens - request.num_cached_tokens)
        if request.pooling is None:
            self._note_answer(request, now_s)

    def _note_answer(self, request: EngineRequest, now_s: float) -> None:
        stats, longest = self._stats, request.longest_choice
        stats.num_choices.observe(request.params.n)
        stats.wanted_sizes.observe(request.max_tokens)
        stats.answer_sizes.observe(request.num_generated_tokens)
        stats.longest_choices.observe(longest)
        if request.first_token_s is None and longest:
            # A beam search has all tokens at its end.
            self._note_first_token(request, now_s)
        if request.first_token_s is not None and request.started_s is not None:
            stats.prefill.observe(request.first_token_s - request.started_s)
            stats.decode.observe(now_s - request.first_token_s)
            if longest > 1:
                stats.token_mean.observe((now_s - request.first_token_s) / (longest - 1))

    def _note_first_token(self, request: EngineRequest, now_s: float) -> None:
        request.first_token_s = now_s
        self._stats.first_token.observe(now_s - request.arrived_s)
        self._stats.fine_first_token.observe(now_s - request.arrived_s)
