"""Which replica gets a request: where its prompt is known, or where there is least to do."""

from collections.abc import Sequence

from server.api.replicas.backend import Backend
from server.api.replicas.prompt_outline import BLOCK_CHARACTERS, CHARACTERS_PER_TOKEN, PromptOutline
from server.errors import ModelNotReadyError
from server.models.model_manager import SHUTTING_DOWN

__all__ = ["Router"]

TOKENS_PER_BLOCK = BLOCK_CHARACTERS // CHARACTERS_PER_TOKEN
RETRY_AFTER_S = 2.0


class Router:
    """Chooses among replicas.

    A conversation goes on where it was, unless that replica has `max_imbalance` requests more than
    the one that has the fewest. All else goes where it would take the least time: a replica that
    has the beginning of the prompt saves its tokens, one with much to do makes it wait.
    """

    def __init__(self, backends: Sequence[Backend], max_imbalance: int) -> None:
        self._backends = backends
        self._max_imbalance = max_imbalance
        self.is_draining = False

    def choose(self, outline: PromptOutline, without: Backend | None = None) -> Backend:
        """The replica for a request. Raises ModelNotReadyError if there is none."""
        if self.is_draining:
            raise ModelNotReadyError(SHUTTING_DOWN)
        answering = [each for each in self._backends if each.answers and each is not without]
        # A replica that cannot serve the model says why.
        able = [each for each in answering if each.can_serve(outline.model)] or answering
        if not able:
            reasons = "; ".join(f"{each.name}: {each.problem}" for each in self._backends)
            raise ModelNotReadyError(f"no replica answers now ({reasons})", RETRY_AFTER_S)
        if len(able) == 1:
            return able[0]
        fewest = min(len(each.work) for each in able)
        known = max(able, key=lambda each: _num_known_turns(each, outline))
        is_busy = len(known.work) - fewest > self._max_imbalance
        if _num_known_turns(known, outline) and not is_busy:
            return known
        near = [each for each in able if len(each.work) - fewest <= self._max_imbalance]
        # Among equals the one that got the fewest requests: they take turns.
        return min(near, key=lambda each: (_cost(each, outline), each.num_requests))


def _num_known_turns(backend: Backend, outline: PromptOutline) -> int:
    """After how many of its messages the conversation was there when it was there last.

    The last message is not looked for: many clients may send the same prompt at the same time.
    """
    known = (
        n for n in range(len(outline.turns) - 1, 0, -1) if outline.turns[n - 1] in backend.prefixes
    )
    return next(known, 0)


def _cost(backend: Backend, outline: PromptOutline) -> int:
    return backend.load() + num_new_tokens(backend, outline)


def num_new_tokens(backend: Backend, outline: PromptOutline) -> int:
    """How many tokens of the prompt the replica does not know."""
    num_known = backend.prefixes.count_shared(outline.blocks) * TOKENS_PER_BLOCK
    return max(0, outline.num_tokens - num_known)


def note_prompt(backend: Backend, outline: PromptOutline) -> None:
    """Note that the replica works on this prompt."""
    backend.prefixes.add([*outline.blocks, *outline.turns[-1:]])
