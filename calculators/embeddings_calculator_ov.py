"""The node that turns texts into vectors."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from calculators.embeddings.embedder_loader import EmbedderLoader
from calculators.embeddings.embedding_setup import EmbeddingSetup
from calculators.embeddings.prompts import PLACE
from calculators.embeddings.text_rows import InputRows, TextRows
from calculators.embeddings.vectors import joined_mean, normalized, shortened
from calculators.encoders.encoder_service import EncoderService, Vector
from calculators.encoders.heads import Pooling
from calculators.encoders.tail import Tail
from calculators.inference.inference_model import ModelSettings
from calculators.inference.model_cache import with_cache_dir
from calculators.inference.openvino_ir import read_tokenizer_ir
from calculators.llm.llm_options import parse_plugin_config
from calculators.tags import EMBEDDING_REQUEST, EMBEDDING_RESPONSE, MODEL_LIMITS, TEXT_TOKENIZER
from calculators.text.encoding_tokenizer import EncodingTokenizer
from server.errors import InvalidRequestError, ModelLoadError
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
from server.payloads import Embedding, EmbeddingRequest, EmbeddingResponse, ModelLimits

__all__ = ["EmbeddingsCalculatorOV", "EmbeddingsCalculatorOVOptions"]

QUEUE_LIMITS = QueueLimits(65_536, 1_000_000)
# To cut and copy so many takes less than a millisecond.
MAX_NUMBERS_ON_EVENT_LOOP = 20_000


@dataclass(frozen=True)
class EmbeddingsCalculatorOVOptions:
    """Which model, and how it runs; raises ValueError for what cannot be understood.

    `target_device` "" is the first GPU, or the CPU where there is none; `plugin_config` is a JSON
    object of OpenVINO properties. Without `pooling` the model's own is taken. With `truncate` a
    text that is too long is cut at its end instead of refused.
    The others are not Model Server's. With `late_chunking` a text that is too long is read in
    chunks, and the mean is that of all their tokens. `instruction_template` has {instruction}, for
    models whose files do not say it. An inference has at most `max_num_batched_tokens`, padding
    included. `max_num_queued_requests` and `max_num_queued_tokens` are the most texts, or pairs,
    and tokens that wait; 0 is no limit, and None what the server says. An answer has at most
    `max_vectors_per_request` vectors, of texts or of tokens.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.EmbeddingsCalculatorOVOptions"

    models_path: str
    normalize_embeddings: bool = True
    target_device: str = ""
    plugin_config: str = ""
    pooling: Pooling | None = None
    truncate: bool = False
    late_chunking: bool = False
    instruction_template: str = ""
    max_num_batched_tokens: UInt64 = 1024
    max_num_queued_requests: UInt64 | None = None
    max_num_queued_tokens: UInt64 | None = None
    max_vectors_per_request: UInt64 = 65_536

    def __post_init__(self) -> None:
        parse_plugin_config(self.plugin_config)
        if self.instruction_template and PLACE not in self.instruction_template:
            raise ValueError(f"instruction_template has no {PLACE}")
        for name in ("max_num_batched_tokens", "max_vectors_per_request"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is 0; it must be at least 1")
        if self.late_chunking and self.truncate:
            raise ValueError("late_chunking and truncate are both set; possible: one of them")


class EmbeddingsCalculatorOV(Calculator[EmbeddingsCalculatorOVOptions]):
    """Turns texts into vectors, with the texts of many requests in one batch.

    Model Server's graphs name a side packet; it is accepted and not used.
    """

    is_watched = False
    contract = Contract(
        inputs=(EMBEDDING_REQUEST,),
        outputs=(EMBEDDING_RESPONSE,),
        input_side_packets=(Tag("EMBEDDINGS_NODE_RESOURCES", object, optional=True),),
        output_side_packets=(TEXT_TOKENIZER, MODEL_LIMITS),
        model_files=(MODEL_FILE, TOKENIZER_FILE),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()

    def check(self, cc: OpenContext) -> None:
        """Read the model, its tokenizer and its settings; raises ModelLoadError."""
        folder = cc.resolve(self.options.models_path)
        setup = self._read_setup(cc)
        read_tokenizer_ir(folder / TOKENIZER_FILE, "the tokenizer")
        self._loader(cc, setup).check()

    def open(self, cc: OpenContext) -> None:
        """Load the tokenizer and compile the model; raises ModelLoadError."""
        self._setup = self._read_setup(cc)
        self._queue = cc.service(QueueDefaults).queue(
            QUEUE_LIMITS, self.options.max_num_queued_requests, self.options.max_num_queued_tokens
        )
        self._service = self._open_service(cc)
        self._resources.callback(self._service.close)
        config = self._setup.config
        tokenizer = EncodingTokenizer(
            cc.resolve(self.options.models_path), config.vocab_size, config.pad_token_id
        )
        cc.set_side_packet(TEXT_TOKENIZER, tokenizer)
        cc.set_side_packet(MODEL_LIMITS, ModelLimits(config.max_length))
        self._rows = TextRows(
            tokenizer,
            config.max_length,
            truncates=self.options.truncate,
            splits=self.options.late_chunking,
        )

    def admit(self, packets: Sequence[object]) -> Ticket:
        """Let requests wait for their turn, if the queue has room."""
        return self._queue.admit(packets)

    async def process(self, cc: ProcessContext) -> None:
        """Embed the inputs of one request."""
        request = await cc.receive(EMBEDDING_REQUEST)
        prompt = self._setup.prompt_of(request)
        inputs = await self._rows.make(request, prompt)
        self._check_num_vectors(request, inputs)
        vectors = await self._service.run(
            [row for found in inputs for row in found.rows], cc.ticket, request.cache_salt
        )
        respond = partial(self._respond, request, inputs, vectors)
        is_small = sum(vector.size for vector in vectors) <= MAX_NUMBERS_ON_EVENT_LOOP
        response = respond() if is_small else await asyncio.to_thread(respond)
        await cc.send(EMBEDDING_RESPONSE, response)

    def close(self) -> None:
        """Free the model."""
        self._resources.close()

    def status(self) -> Mapping[str, object]:
        """The device, what waits, and the sums since the model was loaded."""
        return {
            "pooling": self._setup.pooling.name,
            **self._service.status(),
            **self._queue.status(),
        }

    def health(self) -> str | None:
        """Say why the device failed, if it did."""
        return self._service.health()

    def needs_reload(self) -> bool:
        """Whether an inference hangs."""
        return self._service.needs_reload()

    def _read_setup(self, cc: OpenContext) -> EmbeddingSetup:
        folder = cc.resolve(self.options.models_path)
        setup = EmbeddingSetup.read(
            folder,
            self.options.pooling,
            normalize=self.options.normalize_embeddings,
            template=self.options.instruction_template,
        )
        if self.options.late_chunking and setup.pooling is not Pooling.MEAN:
            raise ModelLoadError(
                f"{folder}: late_chunking takes the mean of all tokens, but this model's pooling "
                f"is {setup.pooling.name}"
            )
        return setup

    def _loader(self, cc: OpenContext, setup: EmbeddingSetup) -> EmbedderLoader:
        options = self.options
        properties = with_cache_dir(parse_plugin_config(options.plugin_config), cc.cache_dir)
        settings = ModelSettings(options.target_device, properties)
        # Chunks are joined before the tail.
        has_tail = not options.late_chunking
        return EmbedderLoader(cc.resolve(options.models_path), setup, settings, has_tail)

    def _open_service(self, cc: OpenContext) -> EncoderService:
        self._tail: Tail | None = None
        options = self.options
        loader = self._loader(cc, self._setup)
        return loader.open(cc.node_name, options.max_num_batched_tokens, cc.progress, cc.graph_name)

    def _respond(
        self, request: EmbeddingRequest, inputs: Sequence[InputRows], vectors: Sequence[Vector]
    ) -> EmbeddingResponse:
        if request.of_tokens:
            found = [normalized(v) if self._setup.normalize else v for v in vectors]
        elif self.options.late_chunking:
            found = list(self._join_chunks(inputs, vectors))
        else:
            found = list(vectors)
        return EmbeddingResponse(
            tuple(
                _embedding(request, vector, rows.num_tokens, normalize=self._setup.normalize)
                for vector, rows in zip(found, inputs, strict=True)
            )
        )

    def _check_num_vectors(self, request: EmbeddingRequest, inputs: Sequence[InputRows]) -> None:
        """Raise InvalidRequestError for an answer that would be too large."""
        count = sum(found.num_tokens for found in inputs) if request.of_tokens else len(inputs)
        most = self.options.max_vectors_per_request
        if count > most:
            each = "token" if request.of_tokens else "input"
            raise InvalidRequestError(
                f"the answer would have {count} vectors, one for each {each}; this graph allows "
                f"{most} for a request: send less, or raise its option max_vectors_per_request",
                "input",
            )

    def _join_chunks(
        self, inputs: Sequence[InputRows], vectors: Sequence[Vector]
    ) -> Sequence[Vector]:
        remaining = iter(vectors)
        pooled = [
            joined_mean([next(remaining) for _ in found.rows], [len(row) for row in found.rows])
            for found in inputs
        ]
        if self._tail is None:
            self._tail = Tail(self._setup.tail, pooled[0].shape[-1])
        return self._tail.apply(pooled)


def _embedding(
    request: EmbeddingRequest, vector: Vector, num_tokens: int, *, normalize: bool
) -> Embedding:
    vector = shortened(vector, request.dimensions, normalize=normalize)
    values = np.ascontiguousarray(vector, "<f4").tobytes()
    return Embedding(values, vector.shape[-1], num_tokens)
