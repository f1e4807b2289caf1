"""The beam searches of an engine: which there are, and what a step means for them."""

from server.engine.beam_candidates import Candidates
from server.engine.beam_search import BeamSearch
from server.engine.model_runner import StepOutput
from server.engine.outputs import SequenceOutput
from server.engine.scheduler import Scheduler
from server.engine.sequence import EngineRequest, Sequence
from server.errors import GenerationError

Found = list[tuple[Sequence, Candidates | None]]


class BeamSearches:
    """Unfinished beam searches by the number of their request."""

    def __init__(self) -> None:
        self._searches: dict[int, BeamSearch] = {}

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._searches

    @property
    def request_ids(self) -> set[int]:
        """The requests that search."""
        return set(self._searches)

    @property
    def sequences(self) -> list[Sequence]:
        """What the scheduler has of all searches."""
        return [s for search in self._searches.values() for s in search.sequences]

    def add(self, request: EngineRequest, arrival: int) -> Sequence:
        """Begin a search; returns the sequence to schedule for it."""
        search = self._searches[request.request_id] = BeamSearch(request, arrival)
        (sequence,) = search.sequences
        return sequence

    def end(self, request_id: int, scheduler: Scheduler) -> BeamSearch:
        """Forget a search and free its blocks."""
        search = self._searches.pop(request_id)
        for sequence in search.sequences:
            scheduler.remove(sequence)
        return search

    def collapse(self, scheduler: Scheduler) -> list[Sequence]:
        """Take all searches from a scheduler; returns what the next one is given of them."""
        for sequence in self.sequences:
            scheduler.remove(sequence)
        return [search.collapse() for search in self._searches.values()]

    def clear(self) -> None:
        """Forget all searches, because the scheduler and the blocks are gone."""
        self._searches.clear()

    def find_candidates(self, output: StepOutput) -> Found:
        """How the beams that a step has computed may go on; changes nothing."""
        return [
            (sequence, self._search_of(sequence).find_candidates(sequence, output.logits[row]))
            for row, sequence in enumerate(output.sequences)
            if sequence.group is not None
        ]

    def advance(self, found: Found, scheduler: Scheduler) -> list[BeamSearch]:
        """Move the searches on; returns those that are over, which are forgotten."""
        for sequence, candidates in found:
            self._search_of(sequence).take(sequence, candidates, scheduler)
        over = {s.request.request_id for s, _ in found if self._search_of(s).is_finished}
        return [self.end(request_id, scheduler) for request_id in sorted(over)]

    def _search_of(self, sequence: Sequence) -> BeamSearch:
        return self._searches[sequence.request.request_id]


def outputs_of(search: BeamSearch) -> list[SequenceOutput]:
    """All tokens of the answers that a finished search found, or its error."""
    request = search.request
    if search.failure is not None:
        return [SequenceOutput(request.request_id, 0, None, error=GenerationError(search.failure))]
    return [
        SequenceOutput(
            request.request_id,
            index,
            token,
            answer.logprobs[position] if answer.logprobs else None,
            answer.finish_reason if position == len(answer.token_ids) - 1 else None,
            request.num_cached_tokens,
            request.prompt_logprobs if position == 0 else None,
        )
        for index, answer in enumerate(search.hypotheses[: request.params.n])
        for position, token in enumerate(answer.token_ids)
    ]
