"""The node of rerankers and classifiers: pairs or texts in, scores or labels out."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from calculators.chat_template.render_process import DEFAULT_TIME_LIMIT_S
from calculators.encoders.encoder_config import EncoderConfig
from calculators.inference.inference_model import ModelSettings
from calculators.inference.model_cache import with_cache_dir
from calculators.inference.openvino_ir import read_tokenizer_ir
from calculators.llm.llm_options import parse_plugin_config
from calculators.rerank.model_config import ModelConfig, read_model_config
from calculators.rerank.pair_rows import PairEncoder
from calculators.rerank.rerank_template import RerankTemplate, load_rerank_template
from calculators.rerank.scorer_loader import ScorerLoader
from calculators.rerank.scores import activate, best_scores
from calculators.rerank.text_rows import TextRowEncoder
from calculators.rerank.token_template import load_templates
from calculators.tags import MODEL_LIMITS, SCORING_REQUEST, SCORING_RESPONSE, TEXT_TOKENIZER
from calculators.text.encoding_tokenizer import EncodingTokenizer
from server.graph import (
    Calculator,
    Contract,
    OpenContext,
    ProcessContext,
    QueueDefaults,
    QueueLimits,
    Tag,
    Ticket,
    UInt64,
)
from server.host.model_files import MODEL_FILE, TOKENIZER_FILE
from server.payloads import (
    ClassifyRequest,
    LoadOptions,
    ModelLimits,
    RerankRequest,
    ScoringResponse,
)

__all__ = ["RerankCalculatorOV", "RerankCalculatorOVOptions"]

QUEUE_LIMITS = QueueLimits(65_536, 1_000_000)
# Model Server's number; other templates have fewer special tokens.
NUMBER_OF_SPECIAL_TOKENS = 4
DEFAULT_MAX_LENGTH = 512


@dataclass(frozen=True)
class RerankCalculatorOVOptions:
    """Which model, and how it runs; raises ValueError for what cannot be done.

    `models_path` is the model's folder. A request has at most `max_allowed_chunks` rows.
    `max_position_embeddings` is the most tokens of a row; without it, config.json says it.
    `target_device` "" is the first GPU, or the CPU where there is none; `plugin_config` is a JSON
    object of OpenVINO properties.
    The others are not Model Server's. `chat_template` is for rerankers that are language models: a
    Jinja file with the roles query and document, or "none"; "" takes the template that the folder
    has or the model is known for. An inference has at most `max_num_batched_tokens`, padding
    included. `max_num_queued_requests` and `max_num_queued_tokens` are the most texts, or pairs,
    and tokens that wait; 0 is no limit, and None what the server says.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.RerankCalculatorOVOptions"

    models_path: str
    max_allowed_chunks: UInt64 = 10000
    max_position_embeddings: UInt64 | None = None
    target_device: str = ""
    plugin_config: str = ""
    chat_template: str = ""
    max_num_batched_tokens: UInt64 = 1024
    max_num_queued_requests: UInt64 | None = None
    max_num_queued_tokens: UInt64 | None = None

    def __post_init__(self) -> None:
        parse_plugin_config(self.plugin_config)
        for name in ("max_allowed_chunks", "max_num_batched_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is 0; it must be at least 1")
        if self.max_position_embeddings is not None:
            check_length(self.max_position_embeddings)


class RerankCalculatorOV(Calculator[RerankCalculatorOVOptions]):
    """Scores pairs of texts, and classifies texts: REQUEST_PAYLOAD in, RESPONSE_PAYLOAD out.

    Model Server's graphs name its side packet; it is accepted and not used.
    """

    is_watched = False
    contract = Contract(
        inputs=(SCORING_REQUEST,),
        outputs=(SCORING_RESPONSE,),
        input_side_packets=(Tag("RERANK_NODE_RESOURCES", object, optional=True),),
        output_side_packets=(TEXT_TOKENIZER, MODEL_LIMITS),
        model_files=(MODEL_FILE, TOKENIZER_FILE),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()

    def check(self, cc: OpenContext) -> None:
        """Read the files; raises ModelLoadError."""
        folder = cc.resolve(self.options.models_path)
        config = read_model_config(folder)
        read_tokenizer_ir(folder / TOKENIZER_FILE, "the tokenizer")
        self._load_prompt(cc, folder, config)
        self._read_setup(cc, config).check()

    def open(self, cc: OpenContext) -> None:
        """Load tokenizer, templates and model; raises ModelLoadError."""
        options = self.options
        folder = cc.resolve(options.models_path)
        self._config = config = read_model_config(folder)
        setup = self._read_setup(cc, config)
        max_length = setup.max_length
        encode_many = partial(setup.tokenizer.encode_many, add_special_tokens=False)
        templates = load_templates(folder, config, setup.encode)
        self._prompt = self._load_prompt(cc, folder, config)
        max_rows = options.max_allowed_chunks
        self._pairs = PairEncoder(encode_many, templates.pair, self._prompt, max_length, max_rows)
        self._texts = TextRowEncoder(encode_many, templates.single, max_length, max_rows)
        self._queue = cc.service(QueueDefaults).queue(
            QUEUE_LIMITS, options.max_num_queued_requests, options.max_num_queued_tokens
        )
        self._service = setup.open(
            cc.node_name, options.max_num_batched_tokens, cc.progress, cc.graph_name
        )
        self._resources.callback(self._service.close)
        cc.set_side_packet(TEXT_TOKENIZER, setup.tokenizer)
        cc.set_side_packet(MODEL_LIMITS, ModelLimits(max_length))

    def admit(self, packets: Sequence[object]) -> Ticket:
        """Let requests wait for their turn, if the queue has room."""
        return self._queue.admit(packets)

    async def process(self, cc: ProcessContext) -> None:
        """Score the pairs, or classify the texts, of one request."""
        request = await cc.receive(SCORING_REQUEST)
        if isinstance(request, RerankRequest):
            response = await self._score(request, cc.ticket)
        else:
            assert isinstance(request, ClassifyRequest)
            response = await self._classify(request, cc.ticket)
        await cc.send(SCORING_RESPONSE, response)

    def close(self) -> None:
        """Free the model."""
        self._resources.close()

    def status(self) -> Mapping[str, object]:
        """The batches, and the template in use."""
        template = {} if self._prompt is None else {"template": self._prompt.origin}
        return {**self._service.status(), **self._queue.status(), **template}

    def health(self) -> str | None:
        """Why the device cannot be used any more; None if it can."""
        return self._service.health()

    def needs_reload(self) -> bool:
        """Whether an inference hangs."""
        return self._service.needs_reload()

    def _read_setup(self, cc: OpenContext, config: ModelConfig) -> ScorerLoader:
        options = self.options
        folder = cc.resolve(options.models_path)
        properties = with_cache_dir(parse_plugin_config(options.plugin_config), cc.cache_dir)
        settings = ModelSettings(options.target_device, properties)
        encoder = EncoderConfig.read(folder, DEFAULT_MAX_LENGTH)
        max_length = options.max_position_embeddings or encoder.max_length
        check_length(max_length)
        tokenizer = EncodingTokenizer(folder, encoder.vocab_size, encoder.pad_token_id)
        return ScorerLoader(folder, config, settings, tokenizer, max_length)

    def _load_prompt(
        self, cc: OpenContext, folder: Path, config: ModelConfig
    ) -> RerankTemplate | None:
        of_server = cc.service(LoadOptions)
        option = str(of_server.chat_template or self.options.chat_template)
        limit_ms = of_server.chat_template_time_limit_ms
        limit_s = DEFAULT_TIME_LIMIT_S if limit_ms is None else limit_ms / 1000
        file = cc.resolve(option) if option else None
        return load_rerank_template(folder, config, option, file, limit_s)

    async def _score(self, request: RerankRequest, ticket: Ticket) -> ScoringResponse:
        plan = await asyncio.to_thread(self._pairs.plan, request)
        logits = await self._service.run(plan.rows, ticket, request.cache_salt)
        scores = best_scores(logits, plan.owners, len(request.pairs))
        activation = "sigmoid" if request.is_probability else self._config.score_activation
        if request.use_activation is not None:
            activation = "sigmoid" if request.use_activation else "none"
        values = activate(scores, activation).tolist()
        return ScoringResponse(tuple((value,) for value in values), sum(map(len, plan.rows)))

    async def _classify(self, request: ClassifyRequest, ticket: Ticket) -> ScoringResponse:
        rows = await asyncio.to_thread(self._texts.rows, request)
        logits = await self._service.run(rows, ticket, request.cache_salt)
        num_labels = len(logits[0])
        activation = self._config.class_activation(num_labels)
        if request.use_activation is False:
            activation = "none"
        values = activate(np.stack(logits), activation).tolist()
        labels = self._config.labels(num_labels)
        return ScoringResponse(tuple(map(tuple, values)), sum(map(len, rows)), labels)


def check_length(max_length: int) -> None:
    """Raise ValueError for rows that are too short for two texts."""
    if max_length <= 2 * NUMBER_OF_SPECIAL_TOKENS:
        raise ValueError(
            f"max_position_embeddings is {max_length}; max_position_embeddings should be larger "
            f"than 2 * NUMBER_OF_SPECIAL_TOKENS, which is {2 * NUMBER_OF_SPECIAL_TOKENS}"
        )
