"""The node that makes images: a request in, PNG files out."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from calculators.inference.model_cache import with_cache_dir
from calculators.llm.llm_options import parse_plugin_config
from calculators.media.image_options import ImageGenCalculatorOptions
from calculators.media.lora_file import check_lora_file
from calculators.media.pipeline_folder import check_pipeline_folder, pipeline_parts
from calculators.media.pipeline_queue import PipelineQueue
from server.errors import ModelLoadError
from server.graph import Calculator, Contract, OpenContext, ProcessContext, ServedNames, Tag
from server.host.openvino_core import find_device_problem
from server.host.version import DISTRIBUTION
from server.payloads import ImageRequest, ImageResponse

if TYPE_CHECKING:
    from calculators.media.image_maker import ImageMaker

__all__ = ["ImageGenCalculator"]

IMAGE_REQUEST = Tag("HTTP_REQUEST_PAYLOAD", ImageRequest)
IMAGE_RESPONSE = Tag("HTTP_RESPONSE_PAYLOAD", ImageResponse)
SERVED_NAMES = Tag("SERVED_NAMES", ServedNames, optional=True)


class ImageGenCalculator(Calculator[ImageGenCalculatorOptions]):
    """Makes and changes images with openvino-genai, one request after the other.

    Model Server's graphs name its side packet; it is accepted and not used.
    """

    contract = Contract(
        inputs=(IMAGE_REQUEST,),
        outputs=(IMAGE_RESPONSE,),
        output_side_packets=(SERVED_NAMES,),
        input_side_packets=(Tag("IMAGE_GEN_NODE_RESOURCES", object, optional=True),),
    )

    def __init__(self) -> None:
        self._resources = ExitStack()
        self._maker: ImageMaker | None = None

    def check(self, cc: OpenContext) -> None:
        """Look for the pipeline's files and read those of adapters. Raises ModelLoadError."""
        _check_libraries()
        check_pipeline_folder(self._folder(cc))
        for path in self._adapter_paths(cc).values():
            check_lora_file(path)
        for device in self.options.devices:
            if (problem := find_device_problem(device)) is not None:
                raise ModelLoadError(problem)

    def open(self, cc: OpenContext) -> None:
        """Load the pipelines. Raises ModelLoadError."""
        self.check(cc)
        # Only here, as it imports the libraries of the extra [media].
        from calculators.media.image_maker import ImageMaker

        options = self.options
        properties = with_cache_dir(parse_plugin_config(options.plugin_config), cc.cache_dir)
        self._maker = ImageMaker(options, self._folder(cc), self._adapter_paths(cc), properties)
        cc.set_side_packet(SERVED_NAMES, ServedNames(self._maker.adapter_names))
        self._queue = PipelineQueue(cc.node_name)
        self._resources.callback(self._queue.close)

    async def process(self, cc: ProcessContext) -> None:
        """Make the images of one request; leaving early ends the run at its next step."""
        request = await cc.receive(IMAGE_REQUEST)
        maker = self._maker
        assert maker is not None
        # What is wrong with an uploaded file is told before the request waits.
        await asyncio.to_thread(maker.check, request)
        images = await self._queue.run(partial(maker.make, request))
        await cc.send(IMAGE_RESPONSE, ImageResponse(await asyncio.to_thread(maker.encode, images)))

    def close(self) -> None:
        """Wait for the run that ends, and free the models."""
        self._resources.close()
        self._maker = None

    def status(self) -> Mapping[str, object]:
        """What images can be made of, the adapters, and how many requests run and wait."""
        return {} if self._maker is None else {**self._maker.status(), **self._queue.status()}

    def _folder(self, cc: OpenContext) -> Path:
        folder = cc.resolve(self.options.models_path)
        for part in pipeline_parts(folder):
            cc.resolve(f"{self.options.models_path}/{part}")
        return folder

    def _adapter_paths(self, cc: OpenContext) -> Mapping[str, Path]:
        return {adapter.alias: cc.resolve(adapter.path) for adapter in self.options.lora_adapters}


def _check_libraries() -> None:
    for name in ("openvino_genai", "PIL"):
        try:
            import_module(name)
        except ImportError as error:
            remedy = f"pip install '{DISTRIBUTION}[media]'"
            raise ModelLoadError(f"images need the extra [media]: {remedy} ({error})") from error
