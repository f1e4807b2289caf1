"""The node that makes images: a request in, PNG files out."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from calculators.inference.model_cache import with_cache_dir
from calculators.llm.llm_options import parse_plugin_config
from calculators.media.adapter_weights import AdapterWeights
from calculators.media.image_limits import ImageLimits
from calculators.media.image_options import ImageGenCalculatorOptions
from calculators.media.libraries import check_media_libraries
from calculators.media.lora_file import check_lora_file
from calculators.media.pipeline_folder import check_pipeline_folder, pipeline_parts
from calculators.media.pipeline_process import PipelineProcess
from calculators.media.pipeline_queue import QUEUE_LIMITS, PipelineQueue
from calculators.media.worker import Serve
from calculators.tags import SERVED_NAMES
from server.errors import ModelLoadError
from server.graph import (
    Calculator,
    Contract,
    OpenContext,
    ProcessContext,
    QueueDefaults,
    ServedNames,
    Tag,
    Ticket,
)
from server.host.openvino_core import find_device_problem
from server.payloads import ImageRequest, ImageResponse

__all__ = ["ImageGenCalculator"]

IMAGE_REQUEST = Tag("HTTP_REQUEST_PAYLOAD", ImageRequest)
IMAGE_RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", ImageResponse)


class ImageGenCalculator(Calculator[ImageGenCalculatorOptions]):
    """Makes and changes images with openvino-genai, one request after the other.

    Model Server's graphs name its side packet; it is accepted and not used.
    """

    is_watched = False
    contract = Contract(
        inputs=(IMAGE_REQUEST,),
        outputs=(IMAGE_RESPONSE,),
        output_side_packets=(SERVED_NAMES,),
        input_side_packets=(Tag("IMAGE_GEN_NODE_RESOURCES", object, optional=True),),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()

    def check(self, cc: OpenContext) -> None:
        """Look for the pipeline's files and read those of adapters. Raises ModelLoadError."""
        check_media_libraries("openvino_genai", "PIL")
        check_pipeline_folder(self._folder(cc))
        for path in self._adapter_paths(cc).values():
            check_lora_file(path)
        for device in self.options.devices:
            if (problem := find_device_problem(device)) is not None:
                raise ModelLoadError(problem)

    def open(self, cc: OpenContext) -> None:
        """Load the pipelines in a process of their own. Raises ModelLoadError."""
        self.check(cc)
        options = self.options
        properties = with_cache_dir(parse_plugin_config(options.plugin_config), cc.cache_dir)
        folder, adapter_paths = self._folder(cc), self._adapter_paths(cc)
        load = partial(_load, options, folder, adapter_paths, properties)
        self._limits = ImageLimits(options)
        self._weights = AdapterWeights(options)
        self._process = PipelineProcess(load, cc.node_name)
        self._resources.callback(self._process.close)
        cc.set_side_packet(SERVED_NAMES, ServedNames(self._weights.names))
        self._queue = cc.service(QueueDefaults).queue(QUEUE_LIMITS, options.max_num_queued_requests)
        self._pipeline = PipelineQueue(cc.node_name)
        self._resources.callback(self._pipeline.close)

    def admit(self, packets: Sequence[object]) -> Ticket:
        """Let requests wait for their turn, if the queue has room."""
        return self._queue.admit(packets)

    async def process(self, cc: ProcessContext) -> None:
        """Make the images of one request; leaving early ends the run at its next step."""
        request = await cc.receive(IMAGE_REQUEST)
        # What is wrong with an uploaded file is told before the request waits.
        await asyncio.to_thread(self._check_request, request)
        work = partial(self._process.run, request, size=_num_steps(request))
        images = await self._pipeline.run(work, cc.ticket)
        await cc.send(IMAGE_RESPONSE, ImageResponse(images))

    def close(self) -> None:
        """Wait for the run that ends, and end the process."""
        self._resources.close()

    def status(self) -> Mapping[str, object]:
        """What images can be made of, the adapters, the length of the queue, and the process."""
        return {
            **self._process.status(),
            **self._weights.status(),
            **self._pipeline.status(),
            **self._queue.status(),
        }

    def health(self) -> str | None:
        """Why the process that runs the model is not there; None if it is."""
        return self._process.health()

    def _check_request(self, request: ImageRequest) -> None:
        """Raise InvalidRequestError for what can be known before the request waits."""
        # Only here, as it imports a library of the extra [media].
        from calculators.media.image_files import read_size

        self._weights.of(request.model, request.lora_alphas)
        arguments = self._limits.arguments(request)
        max_pixels = self._limits.max_pixels
        if request.mask is not None:
            read_size(request.mask, "mask", max_pixels)
        if request.image is not None:
            size = read_size(request.image, "image", max_pixels)
            if request.mask is None and not {"width", "height"} & arguments.keys():
                self._limits.check_output(size)

    def _folder(self, cc: OpenContext) -> Path:
        folder = cc.resolve(self.options.models_path)
        for part in pipeline_parts(folder):
            cc.resolve(f"{self.options.models_path}/{part}")
        return folder

    def _adapter_paths(self, cc: OpenContext) -> Mapping[str, Path]:
        return {adapter.alias: cc.resolve(adapter.path) for adapter in self.options.lora_adapters}


def _num_steps(request: ImageRequest) -> float:
    """Steps of all images, in units of one of 512 x 512 pixels."""
    num_pixels = (request.width or 512) * (request.height or 512)
    num_steps = (request.num_inference_steps or 50) * (request.num_images_per_prompt or 1)
    return num_steps * num_pixels / 512**2


def _load(
    options: ImageGenCalculatorOptions,
    folder: Path,
    adapter_paths: Mapping[str, Path],
    properties: Mapping[str, Any],
) -> tuple[Serve, Mapping[str, object]]:
    """What the process of the pipelines starts with. Raises ModelLoadError."""
    # Only there, as it imports openvino-genai.
    from calculators.media.image_maker import ImageMaker

    maker = ImageMaker(options, folder, adapter_paths, properties)
    facts = {"inputs": list(maker.kinds)}
    return lambda request, cancelled, _: maker.make(request, cancelled), facts
