"""The node that speaks texts, named and configured as OpenVINO Model Server's."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from calculators.inference.model_cache import with_cache_dir
from calculators.llm.llm_options import parse_plugin_config
from calculators.media.pipeline_process import PipelineProcess
from calculators.media.pipeline_queue import QUEUE_LIMITS, PipelineQueue
from calculators.media.speaker import check_speaker, load_speaker
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
from server.payloads import SpeechAudio, SpeechRequest

__all__ = ["T2sCalculator", "T2sCalculatorOptions", "VoiceOptions"]

REQUEST = Tag("HTTP_REQUEST_PAYLOAD", SpeechRequest)
RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", SpeechAudio)


@dataclass(frozen=True)
class VoiceOptions:
    """A voice: a file with the float32 numbers that describe a speaker to the model."""

    PROTO_NAME: ClassVar[str] = "mediapipe.T2sCalculatorOptions.SpeakerEmbeddings"

    name: str
    path: str


@dataclass(frozen=True)
class T2sCalculatorOptions:
    """Which model, and how it runs; raises ValueError for what cannot be understood.

    `target_device` "" is the first GPU, or the CPU where there is none; `plugin_config` is a JSON
    object of OpenVINO properties. At most `max_num_queued_requests` wait while one is served; 0
    is no limit, and None what the server says. It is no option of Model Server's.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.T2sCalculatorOptions"

    models_path: str
    target_device: str = ""
    plugin_config: str = ""
    voices: tuple[VoiceOptions, ...] = ()
    speed_min: float = 0.25
    speed_max: float = 4.0
    max_num_queued_requests: UInt64 | None = None

    def __post_init__(self) -> None:
        parse_plugin_config(self.plugin_config)
        names = [voice.name for voice in self.voices]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"several voices are named {', '.join(repeated)}")
        if not 0 < self.speed_min <= self.speed_max:
            found = f"speed_min is {self.speed_min} and speed_max {self.speed_max}"
            raise ValueError(f"{found}; possible: 0 < speed_min <= speed_max")


class T2sCalculator(Calculator[T2sCalculatorOptions]):
    """Text to speech with openvino-genai's pipeline: SpeechT5, Kokoro."""

    is_watched = False
    contract = Contract(
        inputs=(REQUEST,),
        outputs=(RESPONSE,),
        input_side_packets=(Tag("TTS_NODE_RESOURCES", object, optional=True),),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()

    def check(self, cc: OpenContext) -> None:
        """Look for the files and the libraries; raises ModelLoadError."""
        options = self.options
        voices = {voice.name: cc.resolve(voice.path) for voice in options.voices}
        check_speaker(cc.resolve(options.models_path), options.target_device, voices)

    def open(self, cc: OpenContext) -> None:
        """Load the model and the voices in a process of their own; raises ModelLoadError."""
        options = self.options
        self.check(cc)
        load = partial(
            load_speaker,
            cc.resolve(options.models_path),
            options.target_device,
            with_cache_dir(parse_plugin_config(options.plugin_config), cc.cache_dir),
            {voice.name: cc.resolve(voice.path) for voice in options.voices},
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
        """Speak one text."""
        request = await cc.receive(REQUEST)
        low, high = self.options.speed_min, self.options.speed_max
        if not low <= request.speed <= high:
            raise InvalidRequestError(
                f"speed must be between speed_min ({low:g}) and speed_max ({high:g}), "
                f"found {request.speed:g}",
                "speed",
            )

        work = partial(self._process.run, request, size=len(request.text))
        await cc.send(RESPONSE, await self._pipeline.run(work, cc.ticket))

    def close(self) -> None:
        """Wait for what runs, and end the process."""
        self._resources.close()

    def status(self) -> Mapping[str, object]:
        """The length of the queue, and the process that runs the model."""
        return {**self._pipeline.status(), **self._queue.status(), **self._process.status()}

    def health(self) -> str | None:
        """Why the process that runs the model is not there; None if it is."""
        return self._process.health()
