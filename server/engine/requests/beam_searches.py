"""The unfinished beam searches, and what a step brings for them."""

from server.engine.model.model_runner import StepOutput
from server.engine.requests.beam_candidates import Candidates, find_candidates
from server.engine.requests.beam_search import BeamSearch
from server.engine.requests.outputs import SequenceOutput
from server.engine.requests.request_stats import RequestStats
from server.engine.scheduling.scheduler import Scheduler
from server.engine.sequence import EngineRequest, Sequence
from server.errors import GenerationError
from server.host.metrics import EngineStats

Found = list[tuple[Sequence, Candidates | None]]


class BeamSearches:
    """Unfinished beam searches, by the number of their request."""

    def __init__(self, stats: EngineStats) -> None:
        self._stats = stats
        self._requests = RequestStats(stats)
        self._searches: dict[int, BeamSearch] = {}

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._searches

    @property
    def request_ids(self) -> set[int]:
        """The requests that have unfinished searches."""
        return set(self._searches)

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences of all searches that are in the scheduler."""
        return [s for search in self._searches.values() for s in search.sequences]

    def add(self, request: EngineRequest, arrival: int) -> Sequence:
        """Begin a search; returns the sequence to schedule for it."""
        search = self._searches[request.request_id] = BeamSearch(request, arrival)
        (sequence,) = search.sequences
        return sequence

    def end(self, request_id: int, scheduler: Scheduler, reason: str) -> BeamSearch:
        """Forget a search and free its blocks; `reason` is for the metrics."""
        search = self._searches.pop(request_id)
        for sequence in search.sequences:
            scheduler.remove(sequence)
        self._requests.note_end(search.request, reason)
        return search

    def fail(self, request_id: int, reason: str, scheduler: Scheduler) -> list[SequenceOutput]:
        """End a search with an error."""
        return _errors(self.end(request_id, scheduler, "error").request, reason)

    def collapsed(self) -> list[Sequence]:
        """What to schedule of the searches after a scheduler has forgotten `sequences`."""
        return [search.collapse() for search in self._searches.values()]

    def clear(self) -> None:
        """Forget all searches, because the scheduler and the blocks are gone."""
        self._searches.clear()

    def find_candidates(self, output: StepOutput) -> Found:
        """The next tokens of the beams that a step has computed; changes nothing."""
        rows = [row for row, s in enumerate(output.sequences) if s.group is not None]
        if not rows:
            return []
        beams = [output.sequences[row] for row in rows]
        return [*zip(beams, find_candidates(output.logits.select(rows), beams), strict=True)]

    def advance(self, found: Found, scheduler: Scheduler) -> list[SequenceOutput]:
        """Move the searches on; returns the answers, or errors, of those that are over."""
        for sequence, candidates in found:
            self._search_of(sequence).take(sequence, candidates, scheduler)
        over = {s.request.request_id for s, _ in found if self._search_of(s).is_finished}
        outputs = []
        for request_id in sorted(over):
            outputs += self._finish(self._searches[request_id], scheduler)
        return outputs

    def _finish(self, search: BeamSearch, scheduler: Scheduler) -> list[SequenceOutput]:
        request, new = search.request, _answers(search)
        lengths = [len(output.token_ids) for output in new]
        request.num_generated_tokens = sum(lengths)
        request.longest_choice = max(lengths, default=0)
        self._stats.generated_tokens += sum(lengths)
        reason = "error" if search.failure is not None else new[0].finish_reason or "stop"
        self.end(request.request_id, scheduler, reason)
        return new

    def _search_of(self, sequence: Sequence) -> BeamSearch:
        return self._searches[sequence.request.request_id]


def _answers(search: BeamSearch) -> list[SequenceOutput]:
    request = search.request
    if search.failure is not None:
        return _errors(request, search.failure)
    has_logprobs = request.params.logprobs is not None
    return [
        SequenceOutput(
            request.request_id,
            index,
            tuple(answer.token_ids),
            tuple(answer.logprobs) if has_logprobs else None,
            answer.finish_reason,
            request.num_cached_tokens,
            request.prompt_logprobs,
        )
        for index, answer in enumerate(search.hypotheses[: request.params.n])
    ]


def _errors(request: EngineRequest, reason: str) -> list[SequenceOutput]:
    return [
        SequenceOutput(request.request_id, index, error=GenerationError(reason))
        for index in range(request.params.n)
    ]
