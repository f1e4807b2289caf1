"""The LLM engine: takes requests, and moves all of them on by one step at a time."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from time import perf_counter

from server.engine.beam_search import BeamSearch
from server.engine.beam_searches import BeamSearches
from server.engine.cache_sizing import num_kv_blocks
from server.engine.config import EngineConfig
from server.engine.kv_cache import bytes_per_block
from server.engine.kv_cache_manager import KVCacheManager
from server.engine.limits import RequestLimits
from server.engine.logprobs import PromptLogprobs
from server.engine.model_info import read_model_info
from server.engine.model_loader import LoadedModel, load_model
from server.engine.model_runner import ModelRunner
from server.engine.sampler import BAD_LOGITS, SampledToken, sample
from server.engine.scheduler import ScheduledStep, Scheduler
from server.engine.sequence import EngineRequest, Sequence
from server.engine.stats import EngineStats
from server.engine.token_constraint import TokenConstraint
from server.errors import (
    GenerationError,
    InvalidRequestError,
    ModelNotReadyError,
    RequestError,
)
from server.payloads import FinishReason, SamplingParams, TokenIdLogprobs

logger = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 3

MAX_PROMPT_LOGITS = 2**25
"""Logits that a step computes for log probabilities of prompts: 128 MB, whatever the vocabulary."""


@dataclass(frozen=True, slots=True)
class SequenceOutput:
    """What a step brought for one choice of a request: a token, its end, or an error.

    The log probabilities of the prompt come with the first output of each choice.
    """

    request_id: int
    index: int
    token_id: int | None
    logprobs: TokenIdLogprobs | None = None
    finish_reason: FinishReason | None = None
    num_cached_tokens: int = 0
    prompt_logprobs: PromptLogprobs | None = None
    error: RequestError | None = None


class LLMEngine:
    """Continuous batching of one model over paged attention.

    Not thread-safe, but for `make_request`, which only reads what is fixed at load. A step that
    raises fails the requests that were in it; the next ones run on a new infer request, then on a
    newly loaded model; when that fails too the engine refuses work, and `failure` says why, until
    `revive` succeeds.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.info = read_model_info(config.models_path)
        self.stats = EngineStats()
        self.failure: str | None = None
        self._request_ids = count()
        self._arrivals = count()
        self._sequences: dict[int, dict[int, Sequence]] = {}
        self._searches = BeamSearches()
        self._failures_in_a_row = 0
        model = self._load_model()
        self.num_blocks = num_kv_blocks(config, model, self.info.max_model_len)
        self.limits = self._limits(model)
        self._use(model)

    def _load_model(self) -> LoadedModel:
        config = self.config
        return load_model(config.models_path, config.device, config.plugin_config)

    def _use(self, model: LoadedModel) -> None:
        config = self.config
        self.kv = KVCacheManager(self.num_blocks, model.block_size, config.enable_prefix_caching)
        self.scheduler = Scheduler(
            self.kv,
            config.max_num_batched_tokens,
            config.max_num_seqs,
            config.dynamic_split_fuse,
            max(1, MAX_PROMPT_LOGITS // model.output.vocab_size),
        )
        self.runner = ModelRunner(model, self.num_blocks, self.stats)
        logger.info(
            "%s on %s: KV cache of %d blocks of %d tokens (%s, %.1f GB reserved), context %s",
            config.models_path,
            model.device,
            self.num_blocks,
            model.block_size,
            model.kv_inputs[0].element_type.get_type_name(),
            self.num_blocks * bytes_per_block(model.kv_inputs) / 2**30,
            self.info.max_model_len,
        )

    def _limits(self, model: LoadedModel) -> RequestLimits:
        config, context = self.config, self.info.max_model_len
        # The KV of the last token is never needed.
        capacity = self.num_blocks * model.block_size + 1
        is_context_shorter = context is not None and context <= capacity
        return RequestLimits(
            vocab_size=model.output.vocab_size,
            num_kv_tokens=capacity - 1,
            max_num_tokens=min(capacity, context or capacity),
            limited_by="the model's context" if is_context_shorter else "the KV cache (cache_size)",
            max_num_seqs=min(config.max_num_seqs, config.max_num_batched_tokens),
            max_num_prompt_tokens=None
            if config.dynamic_split_fuse
            else config.max_num_batched_tokens,
            block_size=model.block_size,
        )

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished."""
        return self.scheduler.has_work

    def make_request(
        self,
        prompt_token_ids: Iterable[int],
        params: SamplingParams,
        priority: int = 0,
        cache_salt: bytes = b"",
        constraint: TokenConstraint | None = None,
    ) -> EngineRequest:
        """Check a prompt and give it a number.

        Raises ContextLengthError if it can never fit, InvalidRequestError for an unknown token id
        or too many choices.
        """
        tokens = self.limits.check_prompt(prompt_token_ids)
        self.limits.check_token_ids(params)
        max_tokens = self.limits.resolve_max_tokens(len(tokens), params)
        self.limits.check_prompt_logprobs(len(tokens), params)
        if constraint is not None and params.num_beams > 1:
            raise InvalidRequestError(
                f"num_beams is {params.num_beams}; an answer that must follow a form is not found "
                "by beam search",
                "num_beams",
            )
        # A constrained answer can be complete, with nothing else left to come.
        has_own_ends = constraint is not None or not params.ignore_eos
        own_ends = self.info.eos_token_ids if has_own_ends else frozenset()
        return EngineRequest(
            next(self._request_ids),
            tokens,
            params,
            max_tokens,
            end_token_ids=own_ends.union(params.stop_token_ids),
            priority=priority,
            cache_salt=cache_salt,
            constraint=constraint,
        )

    def add(self, request: EngineRequest) -> None:
        """Queue a request of make_request; raises ModelNotReadyError once the engine has failed."""
        if self.failure is not None:
            raise ModelNotReadyError(self.failure)
        arrival = next(self._arrivals)
        if request.params.num_beams > 1:
            sequence = self._searches.add(request, arrival)
        else:
            sequence = Sequence(request, arrival=arrival)
            self._sequences[request.request_id] = {0: sequence}
        self.stats.prompt_tokens += sequence.num_prompt_tokens
        self.scheduler.add(sequence)

    def has_request(self, request_id: int) -> bool:
        """Whether any choice of a request is unfinished."""
        return request_id in self._sequences or request_id in self._searches

    def abort(self, request_id: int, index: int | None = None) -> None:
        """Stop one choice of a request, or all; nothing happens to one that is over already.

        A beam search has no choices before its end, so that it can only be stopped as a whole.
        """
        if index is None and request_id in self._searches:
            search = self._searches.end(request_id, self.scheduler)
            self.stats.cached_tokens += search.request.num_cached_tokens
        sequences = self._sequences.get(request_id, {})
        for sequence in list(sequences.values()):
            if index is None or sequence.index == index:
                self._finish(sequence)

    def step(self) -> list[SequenceOutput]:
        """Move the running requests on by one step; returns what is new."""
        started = perf_counter()
        num_preemptions = self.scheduler.num_preemptions
        step = self.scheduler.schedule()
        self.stats.preemptions += self.scheduler.num_preemptions - num_preemptions
        scheduled = perf_counter()
        try:
            output = self.runner.run(step)
            inferred = perf_counter()
            for gathered, logits in output.prompt_logits:
                gathered.add(logits)
            sequences, rows = self._fork(output.sequences)
            sampled = sample(output.logits, sequences, rows, output.maxima)
            candidates = self._searches.find_candidates(output)
        except Exception as error:
            logger.exception("a step of %d sequences failed", len(step.sequences))
            return self._fail(step, error)
        self.stats.sample_s += perf_counter() - inferred
        self._failures_in_a_row = 0
        outputs = self._update(step, sequences, sampled)
        for search in self._searches.advance(candidates, self.scheduler):
            outputs += self._answers(search)
        self.stats.num_steps += 1
        self.stats.tokens += step.num_tokens
        self.stats.schedule_s += scheduled - started
        self.stats.step_s += perf_counter() - started
        return outputs

    def close(self) -> None:
        """Free the model and the cache; requests must be over."""
        self.runner.close()

    def _fork(self, finished: list[Sequence]) -> tuple[list[Sequence], list[int] | None]:
        """Add the further choices of requests whose prompt is done; all read the same logits."""
        if not any(s.num_pending_forks or s.group for s in finished):
            return finished, None
        sequences: list[Sequence] = []
        rows: list[int] = []
        for row, parent in enumerate(finished):
            if parent.group is not None:
                continue
            children = [
                Sequence(parent.request, index, parent.arrival)
                for index in range(1, parent.num_pending_forks + 1)
            ]
            parent.num_pending_forks = 0
            sequences += [parent, *children]
            rows += [row] * (1 + len(children))
        return sequences, rows

    def _update(
        self, step: ScheduledStep, sequences: list[Sequence], sampled: list[SampledToken]
    ) -> list[SequenceOutput]:
        """Count what was computed, add the new tokens, end what is complete."""
        for sequence, num_new in zip(step.sequences, step.num_new_tokens, strict=True):
            sequence.num_computed_tokens += num_new
            self.kv.register_computed_blocks(sequence)
        self._adopt_forks(sequences)
        return [
            self._advance(sequence, token)
            for sequence, token in zip(sequences, sampled, strict=True)
        ]

    def _adopt_forks(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            choices = self._sequences[sequence.request.request_id]
            if sequence.index not in choices:
                self.scheduler.add_fork(choices[0], sequence)
                choices[sequence.index] = sequence

    def _advance(self, sequence: Sequence, sampled: SampledToken) -> SequenceOutput:
        request = sequence.request
        if sampled.token_id is None:
            return self._fail_choice(sequence, GenerationError(BAD_LOGITS))
        if request.max_tokens == 0:
            self._finish(sequence)
            return SequenceOutput(
                request.request_id,
                sequence.index,
                None,
                finish_reason="length",
                num_cached_tokens=request.num_cached_tokens,
                prompt_logprobs=request.prompt_logprobs,
            )
        is_first = sequence.num_generated_tokens == 0
        token = sampled.token_id
        sequence.append(token)
        self.stats.generated_tokens += 1
        reason = self._finish_reason(sequence, token)
        if reason is not None:
            self._finish(sequence)
        elif sequence.constraint is not None:
            try:
                sequence.constraint.accept(token)
            except RequestError as error:
                return self._fail_choice(sequence, error)
        return SequenceOutput(
            request.request_id,
            sequence.index,
            token,
            sampled.logprobs,
            reason,
            request.num_cached_tokens,
            request.prompt_logprobs if is_first else None,
        )

    def _fail_choice(self, sequence: Sequence, error: RequestError) -> SequenceOutput:
        self._finish(sequence)
        return SequenceOutput(sequence.request.request_id, sequence.index, None, error=error)

    def _finish_reason(self, sequence: Sequence, token: int) -> FinishReason | None:
        if token in sequence.request.end_token_ids:
            return "stop"
        if sequence.num_generated_tokens >= sequence.request.max_tokens:
            return "length"
        return None

    def _finish(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        choices = self._sequences[sequence.request.request_id]
        del choices[sequence.index]
        if not choices:
            del self._sequences[sequence.request.request_id]
            self.stats.cached_tokens += sequence.request.num_cached_tokens

    def _answers(self, search: BeamSearch) -> list[SequenceOutput]:
        """All tokens of the answers that a finished beam search found, or its error."""
        request = search.request
        self.stats.cached_tokens += request.num_cached_tokens
        if search.failure is not None:
            error = GenerationError(search.failure)
            return [SequenceOutput(request.request_id, 0, None, error=error)]
        outputs = []
        for index, answer in enumerate(search.hypotheses[: request.params.n]):
            num_tokens = len(answer.token_ids)
            self.stats.generated_tokens += num_tokens
            outputs += [
                SequenceOutput(
                    request.request_id,
                    index,
                    token,
                    answer.logprobs[position] if answer.logprobs else None,
                    answer.finish_reason if position == num_tokens - 1 else None,
                    request.num_cached_tokens,
                    request.prompt_logprobs if position == 0 else None,
                )
                for position, token in enumerate(answer.token_ids)
            ]
        return outputs

    def _fail(self, step: ScheduledStep, error: Exception) -> list[SequenceOutput]:
        """End the requests of a failed step with an error; make the engine ready for the others."""
        self.stats.failed_steps += 1
        self._failures_in_a_row += 1
        failed = {sequence.request.request_id for sequence in step.sequences}
        outputs = self._fail_requests(failed, f"the engine failed in this step: {error}")
        try:
            self._recover(error)
        except Exception as second:
            logger.exception("the engine could not recover")
            self.failure = f"the engine failed and could not recover: {second}"
            unfinished = self._sequences.keys() | self._searches.request_ids
            outputs += self._fail_requests(unfinished, self.failure)
        return outputs

    def _fail_requests(self, request_ids: set[int], reason: str) -> list[SequenceOutput]:
        outputs = []
        for request_id in request_ids:
            if request_id in self._searches:
                search = self._searches.end(request_id, self.scheduler)
                search.failure = reason
                outputs += self._answers(search)
                continue
            for sequence in list(self._sequences[request_id].values()):
                self._finish(sequence)
                outputs.append(
                    SequenceOutput(request_id, sequence.index, None, error=GenerationError(reason))
                )
        return outputs

    def _recover(self, error: Exception) -> None:
        self.kv.forget_prefixes()
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise GenerationError(f"{self._failures_in_a_row} steps in a row failed") from error
        if self._failures_in_a_row == 1:
            self.runner.reset()
            return
        waiting = [s for choices in self._sequences.values() for s in choices.values()]
        for sequence in waiting:
            self.scheduler.remove(sequence)
        waiting += self._searches.collapse(self.scheduler)
        self._reload()
        for sequence in waiting:
            self.scheduler.add(sequence)

    def _reload(self) -> None:
        # The old weights go first; there may be no memory for both. As many blocks as before are
        # reserved, or what was accepted might not fit any more.
        self.runner.close()
        self._use(self._load_model())

    def revive(self) -> None:
        """Load the model anew after a failure; raises what is wrong if it still cannot infer.

        All requests must be over. On return `failure` is None and the engine takes requests again.
        """
        self._sequences.clear()
        self._searches.clear()
        self._reload()
        probe = Sequence(self.make_request([0], SamplingParams(max_tokens=1)))
        self.scheduler.add(probe)
        self.runner.run(self.scheduler.schedule())
        self.scheduler.remove(probe)
        self._failures_in_a_row = 0
        self.failure = None
