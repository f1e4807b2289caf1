"""The node that runs the LLM: token ids in, token ids out, batched with all other requests."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import ClassVar

from calculators.guided import (
    GrammarCompiler,
    GrammarConstraint,
    ThinkingLimiter,
    answer_grammar,
    has_grammar,
)
from calculators.inference.model_cache import with_cache_dir
from calculators.llm.adapters import NodeAdapters, adapter_settings
from calculators.llm.generation_limits import GenerationLimits
from calculators.llm.llm_options import LLMCalculatorOptions, parse_llm_properties
from calculators.llm.request_bounds import RequestBounds
from calculators.output_parsers import OUTPUT_FORMAT, OutputFormat, guided_tool_parsers
from calculators.tags import ADAPTERS, MODEL_LIMITS, PROMPT, SERVED_NAMES, TOKENS
from calculators.text.byte_table import load_byte_table
from calculators.text.prompt_limit import PromptLimit
from calculators.text.tokenizer import TOKENIZER
from calculators.text.vocabularies import check_same_vocabulary
from server.engine import DraftConfig, EngineConfig, ReplaceableEngine, check_loadable
from server.errors import ConfigError, InvalidRequestError
from server.graph import (
    Calculator,
    Contract,
    OpenContext,
    ProcessContext,
    QueueDefaults,
    QueueLimits,
    Ticket,
)
from server.host.model_files import DETOKENIZER_FILE, MODEL_FILE
from server.payloads import (
    LoadOptions,
    ModelLimits,
    TokenChunk,
    TokenizedPrompt,
)

QUEUE_LIMITS = QueueLimits(1024, 1_000_000)


class LLMExecutorCalculator(Calculator[LLMCalculatorOptions]):
    """Generates tokens with continuous batching over paged attention on OpenVINO.

    With the side packet TOKENIZER it can constrain answers to a JSON schema, and with OUTPUT_FORMAT
    to tool calls as well.
    """

    is_watched: ClassVar[bool] = False
    contract: ClassVar[Contract] = Contract(
        inputs=(PROMPT,),
        outputs=(TOKENS,),
        input_side_packets=(TOKENIZER.as_optional(), OUTPUT_FORMAT.as_optional()),
        output_side_packets=(MODEL_LIMITS, ADAPTERS, SERVED_NAMES),
        opens_alone=True,
        model_files=(MODEL_FILE,),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()

    def check(self, cc: OpenContext) -> None:
        """Read the model; raises ModelLoadError or ConfigError."""
        options = self.options
        models_path, draft = cc.resolve(options.models_path), self._draft_config(cc)
        properties, _ = parse_llm_properties(options.plugin_config)
        check_loadable(
            models_path, options.device, properties, adapters=adapter_settings(cc, options)
        )
        if draft is not None:
            check_loadable(draft.models_path, draft.device or options.device, properties)
            if (models_path / DETOKENIZER_FILE).is_file():
                check_same_vocabulary(load_byte_table(models_path), draft.models_path)

    def open(self, cc: OpenContext) -> None:
        """Load and compile the model; raises ModelLoadError or ConfigError."""
        options = self.options
        self._format = OutputFormat()
        if cc.has_side_packet(OUTPUT_FORMAT):
            self._format = cc.side_packet(OUTPUT_FORMAT)
        self._queue = cc.service(QueueDefaults).queue(
            QUEUE_LIMITS, options.max_num_queued_requests, options.max_num_queued_tokens
        )
        self._guides_tools = options.enable_tool_guided_generation
        if self._guides_tools:
            self._check_guidance(cc)
        draft = self._draft_config(cc)
        if draft is not None and cc.has_side_packet(TOKENIZER):
            check_same_vocabulary(cc.side_packet(TOKENIZER).byte_table, draft.models_path)
        self._engine = ReplaceableEngine(self._engine_config(cc, draft))
        self._resources.callback(self._engine.close)
        self._adapters = NodeAdapters(self._engine, cc, partial(cc.set_side_packet, SERVED_NAMES))
        cc.set_side_packet(ADAPTERS, self._adapters)
        engine = self._engine.current
        cc.set_side_packet(MODEL_LIMITS, ModelLimits(engine.max_num_tokens))
        self._limits = self._generation_limits()
        tokenizer = cc.side_packet(TOKENIZER) if cc.has_side_packet(TOKENIZER) else None
        self._compiler: GrammarCompiler | None = None
        if tokenizer is not None:
            tokenizer.limit_prompts(PromptLimit(engine.longest_prompt, engine.check_prompt_size))
            self._compiler = GrammarCompiler(
                tokenizer.byte_table, engine.vocab_size, engine.eos_token_ids
            )
            self._resources.callback(self._compiler.close)
        self._thinking = ThinkingLimiter(tokenizer, self._format, engine.vocab_size)

    def _engine_config(self, cc: OpenContext, draft: DraftConfig | None) -> EngineConfig:
        options = self.options
        properties, prompt_lookup = parse_llm_properties(options.plugin_config)
        return EngineConfig(
            models_path=cc.resolve(options.models_path),
            device=options.device,
            plugin_config=with_cache_dir(properties, cc.cache_dir),
            cache_size=options.cache_size,
            num_kv_blocks=options.num_kv_blocks,
            max_num_batched_tokens=options.max_num_batched_tokens,
            max_num_seqs=options.max_num_seqs,
            dynamic_split_fuse=options.dynamic_split_fuse,
            enable_prefix_caching=options.enable_prefix_caching,
            cache_interval_multiplier=options.cache_interval_multiplier or 0,
            target_inter_token_latency_ms=options.target_inter_token_latency_ms,
            auto_tune=options.auto_tune and cc.service(LoadOptions).auto_tune,
            prompt_lookup=prompt_lookup,
            draft=draft,
            served_name=cc.graph_name,
            adapters=adapter_settings(cc, options),
            on_progress=cc.progress,
        )

    def _generation_limits(self) -> GenerationLimits:
        options, engine = self.options, self._engine.current
        return GenerationLimits(
            defaults=engine.sampling_defaults,
            max_num_tokens=engine.max_num_tokens,
            max_num_prompt_tokens=engine.max_num_prompt_tokens,
            max_tokens_limit=options.max_tokens_limit,
            best_of_limit=options.best_of_limit,
            max_num_seqs=engine.max_num_seqs,
            room=self._engine.room,
            bounds=RequestBounds(options.max_tokens_per_request, options.max_logprobs_per_request),
        )

    def admit(self, packets: Sequence[object]) -> Ticket:
        """Let requests wait for their turn, if the queue has room."""
        return self._queue.admit(packets)

    async def process(self, cc: ProcessContext) -> None:
        """Generate for one prompt; leaving early, however it happens, aborts the request."""
        whole_prompt = await cc.receive(PROMPT)
        tokens = cc.output(TOKENS)
        request = whole_prompt.request
        prompt = self._limits.truncate(whole_prompt)
        params = self._limits.resolve(prompt)
        num_tokens = len(prompt.token_ids)
        cc.ticket.add_tokens(num_tokens)
        engine = self._engine.current
        generation = engine.generate(
            prompt.token_ids,
            params,
            request.priority,
            request.cache_salt.encode(),
            # A prompt that was cut has lost its text, but ends as before.
            self._thinking.limit(whole_prompt, await self._constrain(whole_prompt)),
            request.client,
            partial(_begin_prefill, cc, params.num_sequences, num_tokens),
            request.adapter,
        )
        has_begun = False
        try:
            async for output in generation:
                if not has_begun:
                    has_begun = True
                    cc.begin_phase("decode")
                logprobs = output.logprobs
                await tokens.send(
                    TokenChunk(
                        prompt=prompt,
                        index=output.index,
                        token_ids=tuple(output.token_ids),
                        stop_choice=partial(generation.stop_choice, output.index),
                        logprobs=None if logprobs is None else tuple(logprobs),
                        finish_reason=output.finish_reason,
                        num_cached_tokens=output.num_cached_tokens,
                        prompt_logprobs=output.prompt_logprobs,
                        num_choices=params.n,
                    )
                )
        finally:
            engine.abort(generation.request.request_id)

    def close(self) -> None:
        """Stop the engine and free the model."""
        self._resources.close()

    def health(self) -> str | None:
        """Say why the engine failed, if it did."""
        return self._engine.failure

    def status(self) -> Mapping[str, object]:
        """The device, its properties, the kernels that the model runs on, and what waits."""
        return {
            **self._engine.current.status,
            **self._adapters.status(),
            **self._queue.status(),
        }

    def _draft_config(self, cc: OpenContext) -> DraftConfig | None:
        options = self.options
        if not options.draft_models_path:
            return None
        return DraftConfig(
            models_path=cc.resolve(options.draft_models_path),
            device=options.draft_device or "",
            cache_size=options.draft_cache_size or 0,
            max_num_batched_tokens=options.draft_max_num_batched_tokens or 0,
            max_num_seqs=options.draft_max_num_seqs or 0,
            dynamic_split_fuse=options.draft_dynamic_split_fuse is not False,
        )

    def _check_guidance(self, cc: OpenContext) -> None:
        parser = self._format.tool_parser
        if cc.has_side_packet(TOKENIZER) and parser is not None and parser.frame is not None:
            return
        missing = [
            f'the side packet "{tag.name}"'
            for tag in (TOKENIZER, OUTPUT_FORMAT)
            if not cc.has_side_packet(tag)
        ]
        missing = missing or [f"a tool parser of {', '.join(guided_tool_parsers())}"]
        raise ConfigError(
            f"node {cc.node_name!r}: enable_tool_guided_generation needs {' and '.join(missing)}"
        )

    async def _constrain(self, prompt: TokenizedPrompt) -> GrammarConstraint | None:
        """Compile the grammar of the answer; None if it may be any text."""
        if not has_grammar(prompt.request, guides_tools=self._guides_tools):
            return None
        if self._compiler is None:
            raise InvalidRequestError(
                "response_format, structured_outputs, tool_choice and parallel_tool_calls cannot "
                'have their effect here: the LLM node of this graph has no side packet "TOKENIZER"'
            )
        return await self._compiler.compile(partial(answer_grammar, prompt, self._format))


def _begin_prefill(cc: ProcessContext, num_sequences: int, num_tokens: int) -> None:
    cc.begin_phase("prefill")
    cc.ticket.start(num_sequences, num_tokens)
