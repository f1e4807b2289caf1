"""Gives the steps of an engine drafts, where the model allows it and they pay."""

import logging
from collections.abc import Callable
from collections.abc import Sequence as Rows
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import TypeVar

from server.engine.config import EngineConfig
from server.engine.kv.kv_cache import CacheInput
from server.engine.model.device import find_device
from server.engine.model.model_loader import LoadedModel
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import Sequence
from server.engine.speculation.draft_loading import load_draft
from server.engine.speculation.draft_model import DraftModel
from server.engine.speculation.draft_planner import DraftPlanner
from server.engine.speculation.measured_steps import MeasuredSteps
from server.engine.speculation.prompt_lookup import PromptLookup
from server.engine.speculation.proposer import Proposer
from server.errors import describe_error
from server.host.metrics import EngineStats

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

WIDE_BITS = 16
"""Elements of so many bits are not quantised."""


class Speculation:
    """The proposer of an engine, its planner, and their part in each step.

    An error of theirs ends no request: it switches drafts off for good, and `describe` has it.
    """

    def __init__(
        self,
        proposer: Proposer,
        planner: DraftPlanner,
        steps: MeasuredSteps,
        vocab_size: int,
        stats: EngineStats,
    ) -> None:
        self.proposer = proposer
        self._planner = planner
        self._steps = steps
        self._vocab_size = vocab_size
        self._stats = stats
        self._num_proposed: dict[Sequence, int] = {}
        self._proposing_s = 0.0
        self._failure: str | None = None

    def describe(self) -> dict[str, object]:
        """What proposes tokens, and why it does no more. Any thread may ask."""
        found = self.proposer.describe()
        return found if self._failure is None else {**found, "failure": self._failure}

    def plan(self, decoding: list[Sequence]) -> dict[Sequence, int]:
        """How many drafts each of some decoding sequences should have in the next step."""
        nothing: dict[Sequence, int] = {}
        return self._attempt(partial(self._planner.plan, decoding), nothing)

    def propose(self, step: ScheduledStep) -> None:
        """Put drafts into a step that was planned, before it runs and its blocks are copied."""
        self._num_proposed.clear()
        self._proposing_s = 0.0
        if step.copies:
            self._attempt(partial(self.proposer.copy_blocks, step.copies), None)
        if step.num_drafts:
            self._attempt(partial(self._propose, step), None)
        # After an error there is room that nothing was put into.
        for sequence in list(step.num_drafts):
            step.set_drafts(sequence, ())

    def note_verified(self, sequences: Rows[Sequence], runs: Rows[Rows[object]]) -> None:
        """Tell the proposer what became of the drafts, before any sequence moves on."""
        if any(self._num_proposed.values()):
            self._attempt(partial(self._note_verified, sequences, runs), None)

    def observe(self, step: ScheduledStep, expected_s: float, seconds: float) -> None:
        """Learn what a whole step took, which StepCosts expected to take `expected_s`."""
        # The proposer says itself how long it takes.
        seconds -= self._proposing_s
        num_drafts = sum(self._num_proposed.values())
        if step.num_tokens == len(step.sequences) + num_drafts:
            self._steps.observe(len(step.sequences), step.num_tokens, expected_s, seconds)

    def _propose(self, step: ScheduledStep) -> None:
        wanted = list(step.num_drafts.items())
        began = perf_counter()
        proposed = self.proposer.propose(wanted)
        self._proposing_s = perf_counter() - began
        num_judged = 0
        for (sequence, most), found in zip(wanted, proposed, strict=True):
            drafts = self._usable(sequence, found[:most])
            step.set_drafts(sequence, drafts)
            self._stats.num_drafts += bool(drafts)
            self._stats.num_draft_tokens += len(drafts)
            self._num_proposed[sequence] = len(drafts)
            # A draft model that still reads a prompt has not guessed wrongly.
            num_judged += most if drafts else 0
        self._planner.note_scheduled(num_judged)

    def _note_verified(self, sequences: Rows[Sequence], runs: Rows[Rows[object]]) -> None:
        total = 0
        for sequence, run in zip(sequences, runs, strict=True):
            num_proposed = self._num_proposed.get(sequence, 0)
            if num_proposed:
                self.proposer.note_verified(sequence, num_proposed, len(run) - 1)
                total += len(run) - 1
        self._planner.note_verified(total)

    def _attempt(self, do: Callable[[], Result], otherwise: Result) -> Result:
        """What `do` returns; `otherwise` if it fails, or anything has failed before."""
        if self._failure is not None:
            return otherwise
        try:
            return do()
        except Exception as error:  # guesses that fail must not fail a request
            self._failure = describe_error(error)
            logger.warning(
                "%s: speculation failed and is switched off; answers go on without drafts: %s",
                *(self.proposer.describe(), self._failure),
                exc_info=error,
            )
            with suppress(Exception):  # what has failed may fail here again
                self.proposer.close()
            return otherwise

    def _usable(self, sequence: Sequence, found: Rows[int]) -> Rows[int]:
        """The drafts up to the first one after which there is nothing to sample."""
        ends = sequence.request.end_token_ids
        for number, token in enumerate(found):
            if token in ends or not 0 <= token < self._vocab_size:
                return found[:number]
        return found


def with_drafting_properties(config: EngineConfig) -> EngineConfig:
    """The settings with the properties that drafts need, unless others are stated.

    Raises ModelLoadError for an unknown device.
    """
    if not config.speculates:
        return config
    properties = {**find_device(config.device).drafting_properties, **config.plugin_config}
    return replace(config, plugin_config=properties)


def load_draft_model(config: EngineConfig, model: LoadedModel) -> LoadedModel | None:
    """The draft model of the settings; None without one, or where no drafts are possible.

    Raises ModelLoadError where it cannot be loaded, or cannot be a draft model.
    """
    has_use = config.draft is not None and _find_problem(model) is None
    return load_draft(config, model) if has_use else None


def make_speculation(
    config: EngineConfig,
    model: LoadedModel,
    draft: LoadedModel | None,
    num_blocks: int,
    costs: StepCosts,
    stats: EngineStats,
) -> Speculation | None:
    """The speculation that the settings ask for; None where it cannot be exact.

    `draft` is what `load_draft_model` has returned. Raises ModelLoadError where it cannot run.
    """
    if not config.speculates:
        return None
    problem = _find_problem(model)
    if problem is not None:
        logger.warning("%s: no drafts: %s", config.models_path, problem)
        return None
    vocab_size = model.output.vocab_size
    proposer = (
        PromptLookup() if draft is None else DraftModel(draft, config, num_blocks, vocab_size)
    )
    steps = MeasuredSteps(costs)
    planner = DraftPlanner(
        proposer, steps, config.max_num_batched_tokens, model.attention.long_after
    )
    return Speculation(proposer, planner, steps, vocab_size, stats)


def _find_problem(model: LoadedModel) -> str | None:
    """Why the drafts of a model would change its answers; None if they would not."""
    if model.states is not None or model.state_tables:
        return "the model has states, which rejected drafts would change"
    if model.num_embeddings is not None:
        return "the model gives no tokens"
    if not keeps_tokens_apart(model.kv_inputs, model.block_size):
        return (
            "the keys of a KV block share scales, so that rejected drafts would change the others; "
            'plugin_config must have "BY_TOKEN" as KEY_CACHE_QUANT_MODE, or none'
        )
    return None


def keeps_tokens_apart(kv_inputs: tuple[CacheInput, ...], block_size: int) -> bool:
    """Whether what a KV cache holds of a token does not depend on the tokens after it.

    Keys of 8 bits and less can be quantised by channel: then the tokens of a block share their
    scales, which lie behind them, and drafts that are rejected would change the others.
    """
    return all(
        each.element_type.bitwidth >= WIDE_BITS or each.block_shape[1] == block_size
        for each in kv_inputs
        if each.name.startswith("key_cache.")
    )
