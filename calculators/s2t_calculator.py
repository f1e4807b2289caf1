"""The node that writes down speech, named and configured as OpenVINO Model Server's."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from calculators.inference.model_cache import with_cache_dir
from calculators.llm.llm_options import parse_plugin_config
from calculators.media.pipeline_process import PipelineProcess
from calculators.media.pipeline_queue import QUEUE_LIMITS, PipelineQueue
from calculators.media.transcriber import check_transcriber, load_transcriber
from server.errors import InvalidRequestError
from server.graph import (
    Calculator,
    Contract,
    OpenContext,
    ProcessContext,
    QueueDefaults,
    Tag,
    Ticket,
    UInt64,
)
from server.payloads import Transcript, TranscriptChunk, TranscriptionRequest

__all__ = ["S2tCalculator", "S2tCalculatorOptions"]

REQUEST = Tag("HTTP_REQUEST_PAYLOAD", TranscriptionRequest)
RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", TranscriptChunk)


@dataclass(frozen=True)
class S2tCalculatorOptions:
    """Which model, and how it runs; raises ValueError for what cannot be understood.

    `target_device` "" is the first GPU, or the CPU where there is none; `plugin_config` is a JSON
    object of OpenVINO properties. Words get times only with `enable_word_timestamps`. At most
    `max_num_queued_requests` wait while one is served; 0 is no limit, and None what the server
    says. It is no option of Model Server's.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.S2tCalculatorOptions"

    models_path: str
    target_device: str = ""
    plugin_config: str = ""
    enable_word_timestamps: bool = False
    max_num_queued_requests: UInt64 | None = None

    def __post_init__(self) -> None:
        parse_plugin_config(self.plugin_config)


class S2tCalculator(Calculator[S2tCalculatorOptions]):
    """Speech to text with openvino-genai's pipeline: Whisper and the other models it knows."""

    is_watched = False
    contract = Contract(
        inputs=(REQUEST,),
        outputs=(RESPONSE,),
        input_side_packets=(Tag("STT_NODE_RESOURCES", object, optional=True),),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()

    def check(self, cc: OpenContext) -> None:
        """Look for the files and the libraries; raises ModelLoadError."""
        check_transcriber(cc.resolve(self.options.models_path), self.options.target_device)

    def open(self, cc: OpenContext) -> None:
        """Load the model in a process of its own; raises ModelLoadError."""
        self.check(cc)
        options = self.options
        properties = with_cache_dir(parse_plugin_config(options.plugin_config), cc.cache_dir)
        load = partial(
            load_transcriber,
            cc.resolve(options.models_path),
            options.target_device,
            properties,
            with_words=options.enable_word_timestamps,
        )
        self._process = PipelineProcess(load, cc.node_name)
        self._resources.callback(self._process.close)
        self._queue = cc.service(QueueDefaults).queue(QUEUE_LIMITS, options.max_num_queued_requests)
        self._pipeline = PipelineQueue(cc.node_name)
        self._resources.callback(self._pipeline.close)

    def admit(self, packets: Sequence[object]) -> Ticket:
        """Let requests wait for their turn, if the queue has room."""
        return self._queue.admit(packets)

    async def process(self, cc: ProcessContext) -> None:
        """Transcribe one file; leaving early ends the generation at its next token."""
        request = await cc.receive(REQUEST)
        if request.with_words and not self.options.enable_word_timestamps:
            raise InvalidRequestError(
                "Word timestamps not supported for this model: its graph does not set "
                "enable_word_timestamps",
                "timestamp_granularities",
            )
        loop = asyncio.get_running_loop()
        # Bounded by the length of a transcript. None is its end.
        pieces = asyncio.Queue[str | None]()

        def send(text: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, text)

        job = asyncio.create_task(self._run(request, cc.ticket, send, pieces))
        try:
            while (text := await pieces.get()) is not None:
                await cc.send(RESPONSE, TranscriptChunk(delta=text))
            await cc.send(RESPONSE, TranscriptChunk(transcript=await job))
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)

    def close(self) -> None:
        """Wait for what runs, and end the process."""
        self._resources.close()

    def status(self) -> Mapping[str, object]:
        """The length of the queue, and the process that runs the model."""
        return {**self._pipeline.status(), **self._queue.status(), **self._process.status()}

    def health(self) -> str | None:
        """Why the process that runs the model is not there; None if it is."""
        return self._process.health()

    async def _run(
        self,
        request: TranscriptionRequest,
        ticket: Ticket,
        send: Callable[[str], None],
        pieces: asyncio.Queue[str | None],
    ) -> Transcript:
        work = partial(self._process.run, request, on_piece=send, size=len(request.audio))
        try:
            transcript: Transcript = await self._pipeline.run(work, ticket)
            return transcript
        finally:
            pieces.put_nowait(None)
