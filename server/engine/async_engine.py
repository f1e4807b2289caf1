"""Connects asyncio with the engine's thread: once per step, with all new tokens at once."""

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic

from server.engine.adapters.adapter_store import AdapterStore
from server.engine.adapters.settings import AdapterSource
from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.pooling import PooledOutput
from server.engine.requests.generation import Generation, OutputCollector
from server.engine.requests.outputs import SequenceOutput
from server.engine.sequence import EngineRequest
from server.engine.token_constraint import TokenConstraint
from server.errors import (
    GenerationError,
    InvalidRequestError,
    ModelNotReadyError,
    RequestError,
    describe_error,
)
from server.host.metrics import ENGINES
from server.host.watch import ABANDONED, WATCHDOG, WatchedService
from server.payloads import SamplingFields, SamplingParams

logger = logging.getLogger("server.engine")

FIRST_REVIVAL_S, REVIVAL_INTERVAL_S = 2.0, 30.0
"""When a failed engine tries to load its model again, and how often from then on."""

GIVEN_UP_POLL_S = 0.1

BUSY_PAUSE_S = 0.1
"""When an idle engine looks again whether other models of this process are idle as well."""

ACTION_S = 1.0
"""What a posted action, such as a new request, takes at most."""


News = dict[asyncio.AbstractEventLoop, list[tuple[OutputCollector, SequenceOutput]]]
"""New output of a step, by the event loop of its readers."""


class AsyncLLMEngine:
    """An LLMEngine in a thread of its own, for many asyncio readers.

    Raises ModelLoadError where the model cannot be loaded. `generate` may be called from any event
    loop. Each step hands its output over by one `call_soon_threadsafe` for each loop.

    When a step hangs, or the thread has died, the engine is given up: all requests get a
    ModelNotReadyError, it serves no more, and `on_given_up` is called with the reason. If its
    thread comes back from the step, it frees the memory and ends.
    """

    def __init__(
        self, config: EngineConfig, on_given_up: Callable[[str], None] = lambda _: None
    ) -> None:
        self.engine = LLMEngine(config)
        self._on_given_up = on_given_up
        self._given_up: str | None = None
        self._collectors: dict[int, OutputCollector] = {}
        self._news: News = {}
        self._inbox: deque[Callable[[], None]] = deque()
        self._wakeup = threading.Condition()
        self._is_closing = False
        self._counted = ENGINES.add(config.served_name, self.engine.stats, self.engine.load)
        self._revival_due: float | None = None
        self._revival_interval_s = FIRST_REVIVAL_S
        self._watch = WatchedService(
            str(config.models_path), self.give_up, lambda: len(self._collectors)
        )
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self._thread.start()
        WATCHDOG.guard(self._thread, self.give_up)

    @property
    def failure(self) -> str | None:
        """Why the engine cannot serve; None while it can."""
        return self._given_up or self.engine.failure

    @property
    def is_running(self) -> bool:
        """Whether its thread still runs, or hangs."""
        return self._thread.is_alive()

    @property
    def status(self) -> Mapping[str, object]:
        """The device, its properties, the kernels that the model runs on, and what proposes."""
        return {**self.engine.status, **self.engine.describe_speculation()}

    @property
    def max_num_tokens(self) -> int:
        """The most prompt and answer tokens that one sequence can have."""
        return self.engine.limits.max_num_tokens

    @property
    def max_num_prompt_tokens(self) -> int | None:
        """The most prompt tokens; None where only the sum with the answer is limited."""
        return self.engine.limits.max_num_prompt_tokens

    @property
    def longest_prompt(self) -> int:
        """The most tokens of a prompt that can run, whatever else its request says."""
        return self.engine.limits.longest_prompt

    def check_prompt_size(self, num_tokens: int, *, is_exact: bool) -> None:
        """Raise ContextLengthError if no prompt of so many tokens, or more, can run."""
        self.engine.limits.check_prompt_size(num_tokens, is_exact=is_exact)

    @property
    def max_num_seqs(self) -> int:
        """The most sequences that one request can have at once."""
        return self.engine.limits.max_num_seqs

    def room(self, num_prompt_tokens: int, num_beams: int) -> int:
        """The most tokens of each answer to a prompt; below 1 where there is no room."""
        return self.engine.limits.room(num_prompt_tokens, num_beams)

    @property
    def vocab_size(self) -> int:
        """The number of tokens in the vocabulary."""
        return self.engine.limits.vocab_size

    @property
    def num_logits(self) -> int:
        """Logits at each position: as many as tokens, or as the labels of a classifier."""
        return self.engine.limits.num_logits

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return self.engine.info.eos_token_ids

    @property
    def sampling_defaults(self) -> SamplingFields:
        """Sampling fields of generation_config.json, for requests that do not set them."""
        return self.engine.info.sampling_defaults

    def generate(
        self,
        prompt_token_ids: Iterable[int],
        params: SamplingParams,
        priority: int = 0,
        cache_salt: bytes = b"",
        constraint: TokenConstraint | None = None,
        client: str = "",
        on_start: Callable[[], None] | None = None,
        adapter: str = "",
    ) -> Generation:
        """Start a request, of the model itself or of an adapter.

        Raises InvalidRequestError, ContextLengthError, ModelNotFoundError or ModelNotReadyError.
        `on_start` is called in the engine's thread when the request waits no longer.
        Call `abort` when you leave the Generation before its end; after the end it is harmless.
        """
        return self._submit(
            self.engine.make_request(
                prompt_token_ids,
                params,
                priority,
                cache_salt,
                constraint,
                client,
                on_start,
                adapter,
            )
        )

    @property
    def adapters(self) -> AdapterStore | None:
        """Its adapters; None where it takes none."""
        return self.engine.adapters

    def load_adapter(self, source: AdapterSource, replaces: bool = False) -> None:
        """Load an adapter while requests go on; takes as long as reading its files.

        With `replaces`, requests that have an adapter of the same name go on with the old one.
        Raises ModelLoadError, InvalidRequestError or ModelNotReadyError.
        """
        store = self.adapters
        if store is None:
            raise InvalidRequestError("this model takes no adapters", "model")
        store.load(source, replaces)

    async def pool(
        self,
        prompt_token_ids: Iterable[int],
        token_ids: Iterable[int] | None = None,
        priority: int = 0,
        cache_salt: bytes = b"",
        client: str = "",
        on_start: Callable[[], None] | None = None,
    ) -> PooledOutput:
        """The logits of `token_ids` at the end of a prompt, or the hidden state; no new tokens.

        Raises what `generate` and its Generation raise. Where the caller is cancelled, the request
        is aborted.
        """
        generation = self._submit(
            self.engine.make_pooling_request(
                prompt_token_ids, token_ids, priority, cache_salt, client, on_start
            )
        )
        try:
            (output,) = [output async for output in generation]
        finally:
            self.abort(generation.request.request_id)
        assert output.pooled is not None, "a pooling request ends with its values"
        return output.pooled

    def _submit(self, request: EngineRequest) -> Generation:
        if self.failure is not None:
            raise ModelNotReadyError(self.failure)
        collector = OutputCollector(request)
        if not self._post(lambda: self._start(request, collector)):
            raise ModelNotReadyError("the model is being unloaded")
        return Generation(request, collector, self.abort)

    def abort(self, request_id: int, index: int | None = None) -> None:
        """Stop a request, or one choice of it, before the next step; harmless if it is over."""
        self._post(lambda: self._abort(request_id, index))

    def close(self) -> None:
        """Stop the thread after the running step; unfinished requests get a ModelNotReadyError."""
        WATCHDOG.release(self._thread)
        with self._wakeup:
            self._is_closing = True
            self._wakeup.notify()
        while self._thread.is_alive() and self._given_up is None:
            self._thread.join(GIVEN_UP_POLL_S)
        self._watch.close()
        ENGINES.remove(self._counted)
        if self._given_up is not None:
            return
        for action in self._inbox:
            action()
        self._fail_all(ModelNotReadyError("the model was unloaded"))
        self.engine.close()
        logger.debug("engine stats: %s", json.dumps(self.engine.stats.as_dict()))

    def give_up(self, reason: str) -> None:
        """Fail all requests and take no more, whatever the engine's thread does."""
        with self._wakeup:
            if self._given_up is not None:
                return
            self._given_up = reason
            self._is_closing = True
            self._wakeup.notify()
        WATCHDOG.release(self._thread)
        self._watch.close()
        ENGINES.remove(self._counted)
        self._tell_all(ModelNotReadyError(f"the model is not ready: {reason}"))
        # What was posted does nothing from now on but tell its reader.
        while self._inbox:
            self._inbox.popleft()()
        if self.is_running:
            ABANDONED.add(self._thread)
        else:
            self.engine.close()
        self._on_given_up(reason)

    def _post(self, action: Callable[[], None]) -> bool:
        """Run an action in the engine's thread before the next step; False when closing."""
        with self._wakeup:
            if self._is_closing:
                return False
            self._inbox.append(action)
            self._wakeup.notify()
            return True

    def _run(self) -> None:
        is_open = True
        while is_open:
            try:
                is_open = self._wait_for_work()
                if is_open:
                    self._note(self._step())
            except BaseException as error:  # nothing may end this thread while requests wait
                logger.exception("the engine's thread failed")
                # Keep the first reason: what breaks later may be its consequence.
                problem = f"the engine failed: {describe_error(error)}"
                self.engine.failure = self.engine.failure or problem
                self._fail_all(GenerationError(self.engine.failure))
        if self._given_up is not None:
            logger.warning("the step that was given up has ended; its memory is freed")
            self.engine.close()

    def _step(self) -> list[SequenceOutput]:
        running = self._watch.begin(lambda: self.engine.expected_step_s)
        try:
            return self.engine.step(self._hand_over)
        finally:
            self._watch.end(running)

    def _wait_for_work(self) -> bool:
        """Run posted actions, and wait until there is a step to run. False when closing."""
        idle_since = monotonic()
        while True:
            if not self._can_step():
                self._hand_over()
            with self._wakeup:
                is_woken = self._wakeup.wait_for(self._has_news, self._pause_s(idle_since))
                if self._is_closing:
                    return False
            # One by one: if an action raises, the others stay in the inbox.
            while self._inbox:
                self._act(self._inbox.popleft())
            if self._can_step():
                return True
            if not is_woken and self.engine.failure is not None:
                self._try_to_revive()
            elif not is_woken:
                self._use_idle_moment()

    def _act(self, action: Callable[[], None]) -> None:
        running = self._watch.begin(lambda: ACTION_S)
        try:
            action()
        finally:
            self._watch.end(running)

    def _has_news(self) -> bool:
        return bool(self._inbox) or self._is_closing or self._can_step()

    def _pause_s(self, idle_since: float) -> float | None:
        """Seconds without a request after which this thread has something else to do."""
        revival_s = self._time_to_revival()
        if revival_s is not None:
            return revival_s
        step_s = self.engine.warm_up.next_s
        if step_s is None:
            return None
        if WATCHDOG.is_busy(besides=self._watch):
            return BUSY_PAUSE_S
        # Requests tend to follow one another: the longer none came, the longer none will come.
        return max(0.0, idle_since + step_s - monotonic())

    def _use_idle_moment(self) -> None:
        """Let the engine prepare for requests to come, unless the process has other work."""
        step_s = self.engine.warm_up.next_s
        if WATCHDOG.is_busy(besides=self._watch):
            return
        running = self._watch.begin(lambda: step_s)
        try:
            self.engine.use_idle_moment()
        finally:
            self._watch.end(running)

    def _time_to_revival(self) -> float | None:
        """Seconds until a failed engine is loaded again; None while there is no failure."""
        if self.engine.failure is None:
            self._revival_due, self._revival_interval_s = None, FIRST_REVIVAL_S
            return None
        if self._revival_due is None:
            self._revival_due = monotonic() + self._revival_interval_s
            self._revival_interval_s = REVIVAL_INTERVAL_S
        return max(0.0, self._revival_due - monotonic())

    def _try_to_revive(self) -> None:
        self._revival_due = None
        running = self._watch.begin(lambda: None)
        try:
            self.engine.revive()
        except BaseException as error:
            logger.error("loading the failed model again did not help: %s", describe_error(error))
        else:
            logger.warning("the failed model was loaded again and serves requests")
        finally:
            self._watch.end(running)

    def _can_step(self) -> bool:
        return self.engine.has_work and self.engine.failure is None

    def _start(self, request: EngineRequest, collector: OutputCollector) -> None:
        self._collectors[request.request_id] = collector
        try:
            if self._given_up is not None:
                raise ModelNotReadyError(f"the model is not ready: {self._given_up}")
            self.engine.add(request)
        except RequestError as error:
            del self._collectors[request.request_id]
            _call_in(collector.loop, partial(collector.fail, error))

    def _abort(self, request_id: int, index: int | None) -> None:
        # A failed engine takes no more steps, and the abort might fail for the same reason.
        if self.failure is None:
            self.engine.abort(request_id, index)
            self._drop_collector_if_over(request_id)

    def _drop_collector_if_over(self, request_id: int) -> None:
        if not self.engine.has_request(request_id):
            self._collectors.pop(request_id, None)

    def _note(self, outputs: list[SequenceOutput]) -> None:
        """Keep the output of a step until it is handed over."""
        for output in outputs:
            collector = self._collectors.get(output.request_id)
            if collector is not None:
                self._news.setdefault(collector.loop, []).append((collector, output))
        for output in outputs:
            self._drop_collector_if_over(output.request_id)

    def _hand_over(self) -> None:
        """Give the new output to each event loop, usually only one, in one call.

        That happens while the device computes the next step, when this thread does not need the
        interpreter and the loop can work.
        """
        news, self._news = self._news, {}
        if self._given_up is not None:
            return
        if news:
            self.engine.settle()
        for loop, of_loop in news.items():
            if not _call_in(loop, partial(_put_all, of_loop)):
                for collector, _ in of_loop:
                    self.abort(collector.request_id)

    def _fail_all(self, error: RequestError) -> None:
        self._hand_over()
        for request_id in self._tell_all(error):
            self._abort(request_id, None)

    def _tell_all(self, error: RequestError) -> Iterable[int]:
        """End all requests for their readers; returns their ids."""
        collectors, self._collectors = self._collectors, {}
        for collector in collectors.values():
            _call_in(collector.loop, partial(collector.fail, error))
        return collectors


def _call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> bool:
    """Run a call in a loop; False if that loop is closed."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return False
    return True


def _put_all(news: list[tuple[OutputCollector, SequenceOutput]]) -> None:
    for collector, output in news:
        collector.put(output)
