"""The LLM engine: takes requests, and moves them all on one step at a time."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from time import perf_counter

import numpy as np

from server.engine.adapters.adapter_store import AdapterStore
from server.engine.adapters.adapter_use import AdapterUse
from server.engine.config import EngineConfig
from server.engine.model.cache.cache_plan import plan_cache
from server.engine.model.load_report import describe_states, report_load
from server.engine.model.model_info import read_model_info
from server.engine.model.model_loader import LoadedModel
from server.engine.model.model_runner import ModelRunner
from server.engine.model.stateful.stateful_runner import StatefulRunner
from server.engine.model.tuning.tuned_model import TunedModel
from server.engine.model.verification_record import describe_verification
from server.engine.model.warm_up import WarmUp
from server.engine.requests.limits import RequestLimits
from server.engine.requests.outputs import SequenceOutput
from server.engine.requests.request_factory import RequestFactory
from server.engine.requests.request_tracker import RequestTracker
from server.engine.scheduling.latency_target import LatencyTarget
from server.engine.scheduling.scheduled_step import ScheduledStep
from server.engine.scheduling.scheduler import Scheduler, no_drafts
from server.engine.scheduling.step_costs import StepCosts
from server.engine.sequence import EngineRequest, Sequence, SequenceStatus
from server.engine.speculation.draft_planner import MAX_DRAFTS
from server.engine.speculation.speculation import (
    load_draft_model,
    make_speculation,
    with_drafting_properties,
)
from server.errors import (
    GenerationError,
    ModelLoadError,
    ModelNotReadyError,
    describe_error,
)
from server.host.metrics import AdaptersInUse, EngineLoad, EngineStats
from server.host.openvino_errors import error_summary
from server.payloads import SamplingParams

logger = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 3

MAX_PROMPT_LOGITS = 2**25
"""Most logits of a step for log probabilities of prompts: 128 MB, whatever the vocabulary."""


class LLMEngine:
    """Continuous batching of one model over paged attention.

    Not thread-safe, except `make_request` and `make_pooling_request`. A step that raises fails the
    requests in it, and the engine makes new infer requests. If the next step fails as well, it
    loads the model anew. After a third failure in a row it refuses work until `revive` succeeds;
    `failure` says why.
    """

    def __init__(self, config: EngineConfig) -> None:
        config = with_drafting_properties(config)
        self.config = config
        self.info = read_model_info(config.models_path)
        self.failure: str | None = None
        self.expected_step_s: float | None = None
        """What the running step should take; None before any was scheduled."""
        self._arrivals = count()
        self._failures_in_a_row = 0
        self._model = TunedModel(config, self.info.max_model_len)
        config.report_progress("compiling the model", 0.5)
        model = self._model.load()
        # Verification compares tokens.
        gives_tokens = model.num_embeddings is None
        self._verification = describe_verification(config.models_path) if gives_tokens else None
        self.adapters = self._load_adapters(model)
        self._adapter_use = AdapterUse()
        self._draft = load_draft_model(config, model)
        self._cache = plan_cache(config, model, self.info.max_model_len, self._draft)
        self.num_blocks = self._cache.num_blocks
        self.info = replace(self.info, max_model_len=self._cache.max_model_len)
        self.config = replace(config, max_num_seqs=self._cache.max_num_seqs)
        self.limits = RequestLimits.of(
            self.config,
            model.num_embeddings or model.output.vocab_size,
            model.output.vocab_size,
            self.num_blocks,
            self._cache.block_size,
            self.info.max_model_len,
            None if model.encoder is None else model.encoder.limits(self._cache.block_size),
        )
        self.stats = EngineStats(self.info.max_model_len or self.limits.max_num_tokens)
        self._requests = RequestTracker(self.stats)
        factory = RequestFactory(
            self.limits,
            self.info.eos_token_ids,
            model.attention.long_after,
            model.head is not None,
            self.adapters,
        )
        self.make_request = factory.make
        self.make_pooling_request = factory.make_pooling
        self._use(model)

    def _use(self, model: LoadedModel) -> None:
        """Make the cache, the runner and the scheduler for a model, and run its first steps."""
        config = self.config
        self.kv = self._cache.make_manager()
        self.runner = self._make_runner(model)
        self._costs = StepCosts(self.runner.token_sizes.padded)
        try:
            self._speculation = make_speculation(
                config, model, self._draft, self.num_blocks, self._costs, self.stats
            )
        except BaseException:
            self.runner.close()
            raise
        self.scheduler = Scheduler(
            self.kv,
            config.max_num_batched_tokens,
            config.max_num_seqs,
            config.dynamic_split_fuse,
            max(1, MAX_PROMPT_LOGITS // model.output.vocab_size),
            self.stats,
            LatencyTarget(self._costs, config.target_s),
            no_drafts if self._speculation is None else self._speculation.plan,
        )
        try:
            self._warm_up(model)
        except BaseException:
            self._close_runner()
            raise

    def _make_runner(self, model: LoadedModel) -> ModelRunner | StatefulRunner:
        if model.states is not None:
            return StatefulRunner(model, self.kv, self._cache.state_bytes, self.stats)
        num_rows = self.limits.max_num_seqs
        if self.config.speculates:
            num_rows = max(num_rows, min(1 + MAX_DRAFTS, self.config.max_num_batched_tokens))
        return ModelRunner(
            model,
            self.num_blocks,
            self.stats,
            self.config.max_num_batched_tokens,
            num_rows,
            self._cache.state_blocks,
            self.adapters,
        )

    def _load_adapters(self, model: LoadedModel) -> AdapterStore | None:
        """Load those that the model begins with; None where its graph has no branches for any."""
        if model.adapters is None:
            return None
        store = AdapterStore(model.adapters.modules, model.adapters.element_type)
        for source in self.config.adapters.sources:
            store.load(source)
        self._model.fix_branches(store.modules)
        return store

    def _warm_up(self, model: LoadedModel) -> None:
        config = self.config
        self.warm_up = WarmUp(
            self.runner,
            self._costs,
            self._model.saved_sizes(model),
            model.device.arrange_memory(),
        )
        self.warm_up.start(config)
        if model.weights_lease is not None:
            # The device runs on copies of its own.
            model.weights_lease.forget_pages()
        self._model.keep_tuning()
        self.status = {
            **self._model.describe(model),
            **describe_states(model, self._cache.state_blocks),
            "verified": self._verification,
        }
        config.report_progress("loaded", 1.0)
        num_tokens = self.num_blocks * self._cache.block_size
        report_load(config.models_path, model, self.status, self.num_blocks, num_tokens)

    def load(self) -> EngineLoad:
        """What there is to do, and the cache. Any thread may ask."""
        return EngineLoad(
            num_running=self.scheduler.num_running,
            num_waiting=self.scheduler.num_waiting,
            num_used_blocks=self.kv.num_used_blocks,
            num_blocks=self.num_blocks,
            block_size=self._cache.block_size,
            max_num_seqs=self.config.max_num_seqs,
            max_num_batched_tokens=self.config.max_num_batched_tokens,
            max_model_len=self.limits.max_num_tokens,
            enable_prefix_caching=self.config.enable_prefix_caching,
            adapters=self._describe_adapters(),
        )

    def describe_speculation(self) -> dict[str, object]:
        """What proposes tokens; empty where nothing does. Any thread may ask."""
        speculation = self._speculation
        return {} if speculation is None else {"speculation": speculation.describe()}

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished."""
        return self.scheduler.has_work

    def add(self, request: EngineRequest) -> None:
        """Queue a request; raises ModelNotReadyError once the engine has failed."""
        if self.failure is not None:
            raise ModelNotReadyError(self.failure)
        sequence = self._requests.add(request, next(self._arrivals))
        self.scheduler.add(sequence)
        if request.adapter is not None:
            self._adapter_use.note_waiting(request.adapter.name)

    def has_request(self, request_id: int) -> bool:
        """Whether any choice of a request is unfinished."""
        return request_id in self._requests

    def abort(self, request_id: int, index: int | None = None) -> None:
        """Stop one choice of a request, or all; harmless where it is over.

        A beam search has no choices before its end: it can only be stopped as a whole.
        """
        self._requests.abort(request_id, self.scheduler, index)

    def _note_adapters(self) -> None:
        """Note for the metrics which adapters are at work."""
        if self.adapters is not None:
            self._adapter_use.note(
                (sequence.request.adapter.name, sequence.status is SequenceStatus.RUNNING)
                for sequence in self._requests.sequences
                if sequence.request.adapter is not None
            )

    def _describe_adapters(self) -> AdaptersInUse | None:
        """Any thread may ask."""
        if self.adapters is None:
            return None
        # Without work no step follows that would note what has ended.
        in_use = self._adapter_use.current if self.has_work else AdaptersInUse()
        return replace(in_use, num_loaded=len(self.adapters.adapters))

    def step(self, on_infer: Callable[[], None] | None = None) -> list[SequenceOutput]:
        """Move the running requests on by one step; returns the new output.

        `on_infer` is called while the device computes, when this thread needs no Python.
        """
        started = perf_counter()
        step = self.scheduler.schedule()
        if self._speculation is not None:
            self._speculation.propose(step)
        scheduled = perf_counter()
        context, num_prompt_rows = step.context, step.num_prompt_rows
        self.expected_step_s = self._costs.predict(step.num_tokens, context, num_prompt_rows)
        try:
            output = self.runner.run(step, partial(self._overlap, step, on_infer))
            inferred = perf_counter()
            chosen = self._requests.choose(step, output)
        except BaseException as error:  # other people's code, too: it must not end the thread
            logger.exception("a step of %d sequences failed", len(step.sequences))
            return self._fail(step, error)
        sampled = perf_counter()
        self.stats.sample_s += sampled - inferred
        self._failures_in_a_row = 0
        is_typical = self.warm_up.note(step.num_tokens)
        if is_typical:
            self._costs.observe(step.num_tokens, context, sampled - scheduled, num_prompt_rows)
        if self._speculation is not None:
            self._speculation.note_verified(chosen.sequences, chosen.runs)
        outputs = self._requests.advance(chosen, self.scheduler)
        self.stats.num_steps += 1
        self.stats.tokens += step.num_tokens
        self.stats.step_tokens.observe(step.num_tokens)
        self.stats.schedule_s += scheduled - started
        ended = perf_counter()
        self.stats.step_s += ended - started
        if self._speculation is not None and is_typical:
            self._speculation.observe(step, self.expected_step_s, ended - started)
        return outputs

    def use_idle_moment(self) -> None:
        """Do what `warm_up` has left to do; there must be no work. Takes `warm_up.next_s`.

        Raises RuntimeError where the device fails even with new infer requests.
        """
        try:
            self.warm_up.run_next()
        except RuntimeError as error:
            logger.warning(
                "%s: a step of padding failed; the sizes that are left run with requests: %s",
                *(self.config.models_path, error_summary(error)),
            )
            self.warm_up.stop()
            self.runner.reset()

    def settle(self) -> None:
        """Find the log probabilities of the last step, which else the next one finds meanwhile.

        They are found as well when somebody reads them, but then in that thread.
        """
        self.runner.settle()

    def close(self) -> None:
        """Free the models and the cache; requests must be over."""
        self.warm_up.save()
        self._close_runner()
        self._draft = None

    def _close_runner(self) -> None:
        if self._speculation is not None:
            self._speculation.proposer.close()
        self.runner.close()

    def _overlap(self, step: ScheduledStep, on_infer: Callable[[], None] | None) -> None:
        """Do what needs no logits while the device computes a step.

        Should the step fail, its sequences end, and their blocks leave the prefix cache.
        """
        self.settle()
        self._note_adapters()
        self._note_computed(step)
        self._requests.compute_masks(step)
        next_step = self.scheduler.look_ahead(step)
        if next_step is not None:
            self.runner.prepare(next_step)
        if on_infer is not None:
            on_infer()

    def _note_computed(self, step: ScheduledStep) -> None:
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
            sequence.num_computed_tokens += num_new - len(step.drafts.get(sequence, ()))
            self.kv.register_computed_blocks(sequence)

    def _fail(self, step: ScheduledStep, error: BaseException) -> list[SequenceOutput]:
        """End the requests of a failed step with an error, and repair the engine for the others."""
        self.stats.failed_steps += 1
        self._failures_in_a_row += 1
        failed = {sequence.request.request_id for sequence in step.sequences}
        reason = f"the engine failed in this step: {describe_error(error)}"
        outputs = self._requests.fail(failed, reason, self.scheduler)
        try:
            self._recover(error)
        except BaseException as second:
            logger.exception("the engine could not recover")
            self.failure = f"the engine failed and could not recover: {describe_error(second)}"
            unfinished = self._requests.request_ids
            outputs += self._requests.fail(unfinished, self.failure, self.scheduler)
        return outputs

    def _recover(self, error: BaseException) -> None:
        self.kv.forget_prefixes()
        if self._speculation is not None:
            self._speculation.proposer.reset()
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise GenerationError(f"{self._failures_in_a_row} steps in a row failed") from error
        if self._failures_in_a_row == 1:
            self.runner.reset()
            return
        waiting = self._requests.collapse(self.scheduler)
        self._reload()
        for sequence in waiting:
            self.scheduler.add(sequence)

    def _reload(self) -> None:
        # The old weights go first: there may be no memory for both. The number of blocks stays, or
        # accepted requests might not fit any more.
        self._close_runner()
        model = self._model.load()
        if self.adapters is not None and (
            model.adapters is None or model.adapters.element_type != self.adapters.element_type
        ):
            raise ModelLoadError("the model was loaded again in another form than its adapters")
        self._use(model)

    def revive(self) -> None:
        """Load the model anew after a failure; raises if it still cannot infer.

        All requests must be over. On return `failure` is None and the engine takes requests again.
        """
        self._requests.clear()
        self._reload()
        probe = Sequence(EngineRequest(-1, np.zeros(1, np.int64), SamplingParams(), 1))
        self.scheduler.add(probe)
        try:
            self.runner.run(self.scheduler.schedule())
        except BaseException:
            self._close_runner()
            raise
        finally:
            self.scheduler.remove(probe)
        self._failures_in_a_row = 0
        self.failure = None
