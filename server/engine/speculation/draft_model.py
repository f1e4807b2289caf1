"""Proposes what a draft model would write: a smaller model with the same tokens.

(Y. Leviathan et al., Fast Inference from Transformers via Speculative Decoding, arXiv 2211.17192.)
"""

from collections.abc import Sequence as Rows
from dataclasses import dataclass
from time import perf_counter

from server.engine.config import DraftConfig, EngineConfig
from server.engine.kv.kv_cache_manager import BlockCopy
from server.engine.model.model_info import read_model_info
from server.engine.model.model_loader import LoadedModel
from server.engine.model.model_runner import ModelRunner
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import Sequence
from server.engine.speculation.acceptance import HitRates
from server.engine.speculation.draft_blocks import DraftBlocks
from server.engine.speculation.draft_loop import DraftLoop
from server.engine.speculation.draft_sequence import NUM_KINDS, DraftSequence, kind_of
from server.engine.speculation.proposal_costs import ProposalCosts
from server.errors import ModelLoadError
from server.host.metrics import EngineStats
from server.host.openvino_errors import error_summary

EXPECTED = 0.7
"""How often a draft is accepted, before anything is known."""

TRIED = 0.9
"""What is assumed of drafts that are tried again after they did not pay."""

NUM_TRIED = 2

SHORT = 32
"""A sequence with at most so many tokens to read gets drafts in any case; more are caught up."""

MAX_MISSING = 3
"""Proposals that had more tokens to read for each sequence do not tell what others cost."""

WARM_UP_SIZES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A sequence that gets at most `most` drafts; `num_computed` of its tokens had KV before."""

    draft: DraftSequence
    most: int
    num_computed: int


class DraftModel:
    """A Proposer that runs a model of its own, for all sequences of a step in one batch.

    Its KV lies in tensors of its own under the same block numbers as the model's. It reads what it
    has missed when drafts are wanted: the prompt after the first token, or tokens that came without
    drafts. Long prompts are read in chunks, and their sequences have no drafts meanwhile.
    """

    def __init__(
        self, model: LoadedModel, config: EngineConfig, num_blocks: int, vocab_size: int
    ) -> None:
        draft = config.draft
        assert draft is not None, "the caller has asked"
        self._path, self._device = draft.models_path, model.device.name
        self._vocab_size = min(vocab_size, model.output.vocab_size)
        self._num_readable = model.num_embeddings or model.output.vocab_size
        self._max_len = _max_len(model, draft)
        self._max_num_seqs = draft.max_num_seqs or config.max_num_seqs
        self._step_size = draft.max_num_batched_tokens or config.max_num_batched_tokens
        self._chunk = self._step_size if draft.dynamic_split_fuse else self._max_len
        self._blocks = DraftBlocks(num_blocks, model.block_size)
        self._block_size = model.block_size
        self._rates = HitRates(NUM_KINDS, memory=0.998, weight=20.0)
        self._runner = ModelRunner(
            model, num_blocks, EngineStats(), self._step_size, self._max_num_seqs
        )
        self._costs = StepCosts(self._runner.token_sizes.padded)
        self._proposal_costs = ProposalCosts(lambda size: self._costs.predict(size, 0.0))
        self._warm_up()

    def _warm_up(self) -> None:
        try:
            for size in WARM_UP_SIZES:
                if size <= self._max_num_seqs:
                    self._runner.warm_up(size)
                    self._costs.observe(size, 0.0, self._runner.warm_up(size))
        except RuntimeError as error:
            self._runner.close()
            raise ModelLoadError(
                f"{self._path}: OpenVINO cannot run the draft model: {error_summary(error)}"
            ) from error

    def chances(self, sequence: Sequence, most: int) -> Rows[float]:
        """See Proposer."""
        room = self._max_len - sequence.num_tokens
        if room <= 0:
            return ()
        draft = self._draft_of(sequence)
        if not (draft.is_readable and self._is_worth_reading(draft, sequence)):
            return ()
        if draft.should_try():
            return [TRIED] * min(most, room, NUM_TRIED)
        return [self._chance(draft, number) for number in range(min(most, room))]

    def _chance(self, draft: DraftSequence, number: int) -> float:
        kind = kind_of(number)
        return draft.rates.of(kind, self._rates.of(kind, EXPECTED))

    def seconds(self, num_sequences: int, num_tokens: int) -> float:
        """See Proposer."""
        return self._proposal_costs.seconds(num_sequences, num_tokens)

    def copy_blocks(self, copies: Rows[BlockCopy]) -> None:
        """See Proposer."""
        self._runner.copy_blocks(list(copies))
        self._blocks.copy(copies)

    def note_verified(self, sequence: Sequence, num_proposed: int, num_accepted: int) -> None:
        """See Proposer."""
        draft = sequence.proposal_state
        if isinstance(draft, DraftSequence):
            draft.note_verified(num_proposed, num_accepted)
            for number in range(min(num_accepted + 1, num_proposed)):
                self._rates.note(kind_of(number), number < num_accepted)

    def reset(self) -> None:
        """See Proposer."""
        self._blocks.forget()

    def close(self) -> None:
        """See Proposer."""
        self._runner.close()

    def describe(self) -> dict[str, object]:
        """See Proposer."""
        return {
            "proposer": "draft_model",
            "draft_model": str(self._path),
            "draft_device": self._device,
        }

    def _draft_of(self, sequence: Sequence) -> DraftSequence:
        """What is known of a sequence; a new one is told which of its tokens the blocks hold."""
        draft = sequence.proposal_state
        if draft is None:
            draft = DraftSequence(sequence, self._block_size, self._num_readable)
            sequence.proposal_state = draft
            draft.follow(sequence, self._blocks)
        assert isinstance(draft, DraftSequence), "an engine has one proposer"
        return draft

    def _is_worth_reading(self, draft: DraftSequence, sequence: Sequence) -> bool:
        """Whether what is left of the answer can make good for the tokens to read first."""
        num_missing = sequence.num_tokens - draft.sequence.num_computed_tokens
        if num_missing <= SHORT:
            return True
        num_left = sequence.request.max_tokens - sequence.num_generated_tokens
        size = min(num_missing, self._step_size)
        reading_s = self._costs.predict(size, 0.0) / size * num_missing
        # A token that is drafted and accepted saves at least what it takes to draft it.
        return reading_s <= num_left * self._costs.predict(1, 0.0)

    def propose(self, wanted: Rows[tuple[Sequence, int]]) -> Rows[Rows[int]]:
        """See Proposer."""
        began = perf_counter()
        asked: dict[Sequence, _Asked] = {}
        for target, most in wanted[: self._max_num_seqs]:
            draft = self._draft_of(target)
            draft.follow(target, self._blocks)
            if draft.is_readable:
                asked[draft.sequence] = _Asked(draft, most, draft.sequence.num_computed_tokens)
        ends = {own: each.draft.num_known + each.most for own, each in asked.items()}
        loop = DraftLoop(self._runner, self._vocab_size, ends)
        step = self._first_step(list(asked))
        going = self._read(loop, step) if step.sequences else []
        while going:
            going = loop.run(going)
        for each in asked.values():
            each.draft.note_computed(self._blocks, each.num_computed)
        drafts = [self._draft_of(target) for target, _ in wanted]
        proposed = [each.drafts() if each.sequence in asked else () for each in drafts]
        if 0 < step.num_tokens <= MAX_MISSING * len(asked):
            next_s = loop.seconds / loop.num_steps if loop.num_steps else None
            first_s = perf_counter() - began - loop.seconds
            self._proposal_costs.observe(len(asked), first_s, next_s)
        return proposed

    def _read(self, loop: DraftLoop, step: ScheduledStep) -> list[Sequence]:
        """Read what was missed; returns the sequences that go on."""
        began = perf_counter()
        going = loop.read(step)
        self._costs.observe(step.num_tokens, step.context, perf_counter() - began)
        return going

    def _first_step(self, sequences: list[Sequence]) -> ScheduledStep:
        """The step that reads what the draft model has missed, as far as it is not too much."""
        step, room = ScheduledStep(), self._chunk
        for sequence in sorted(sequences, key=lambda each: each.num_uncomputed_tokens):
            num_new = sequence.num_uncomputed_tokens
            if num_new > SHORT:
                num_new = min(num_new, room)
                room -= num_new
            if num_new:
                step.add(sequence, num_new)
        return step


def _max_len(model: LoadedModel, draft: DraftConfig) -> int:
    """The longest text that the draft model can go on with."""
    lengths = (
        read_model_info(draft.models_path).max_model_len,
        model.attention.context_limit,
        # Beyond it, all of a text would have to be read again with other factors.
        model.attention.long_after,
    )
    return min((length for length in lengths if length is not None), default=2**31)
