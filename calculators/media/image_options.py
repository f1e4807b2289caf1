"""The options of a node that makes images, named as OpenVINO Model Server has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from calculators.llm.llm_options import parse_plugin_config
from calculators.llm.lora_options import AdapterMode, LoraAdapter
from server.graph import UInt64
from server.payloads import ImageSize

__all__ = [
    "AdapterMode",
    "CompositeLoraAdapter",
    "ImageGenCalculatorOptions",
    "LoraAdapter",
    "LoraComponent",
]

MAX_RESOLUTION = "4096x4096"
MAX_NUM_IMAGES = 10


@dataclass(frozen=True)
class LoraComponent:
    """An adapter of a composite; without `alpha` it has its own."""

    adapter_alias: str
    alpha: float | None = None


@dataclass(frozen=True)
class CompositeLoraAdapter:
    """Several adapters under one name."""

    alias: str
    components: tuple[LoraComponent, ...] = ()


@dataclass(frozen=True)
class ImageGenCalculatorOptions:
    """Which pipeline, and what requests may ask for; raises ValueError for what cannot be done.

    `device` is one OpenVINO device, or three in the order text encoder, denoiser, VAE; "" is the
    CPU. Sizes are written WxH. With `resolution` only these sizes can be asked for. If it is one
    size, the models are compiled for it, for `num_images_per_prompt` images and `guidance_scale`.
    At most `max_num_queued_requests` images wait while others are made; 0 is no limit, and None
    what the server says. It is no option of Model Server's.
    """

    PROTO_NAME: ClassVar[str] = "mediapipe.ImageGenCalculatorOptions"

    models_path: str
    device: str = ""
    plugin_config: str = ""
    max_resolution: str | None = None
    default_resolution: str | None = None
    max_num_images_per_prompt: UInt64 | None = None
    default_num_inference_steps: UInt64 = 50
    max_num_inference_steps: UInt64 = 100
    resolution: str | None = None
    num_images_per_prompt: UInt64 | None = None
    guidance_scale: float | None = None
    lora_adapters: tuple[LoraAdapter, ...] = ()
    composite_lora_adapters: tuple[CompositeLoraAdapter, ...] = ()
    max_num_queued_requests: UInt64 | None = None

    def __post_init__(self) -> None:
        parse_plugin_config(self.plugin_config)
        problems = [*self._device_problems(), *self._size_problems(), *self._count_problems()]
        problems += self._adapter_problems()
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def devices(self) -> tuple[str, str, str]:
        """The devices of text encoder, denoiser and VAE."""
        names = self.device.split() or ["CPU"]
        return (names * 3)[0], (names * 3)[1], (names * 3)[2]

    @property
    def resolutions(self) -> tuple[ImageSize, ...]:
        """The only sizes that can be asked for; none if all are possible."""
        return tuple(_size("resolution", text) for text in (self.resolution or "").split())

    @property
    def static_size(self) -> ImageSize | None:
        """The size that the models are compiled for."""
        return self.resolutions[0] if len(self.resolutions) == 1 else None

    @property
    def max_size(self) -> ImageSize:
        """The largest width and the largest height."""
        return _size("max_resolution", self.max_resolution or MAX_RESOLUTION)

    @property
    def default_size(self) -> ImageSize | None:
        """The size of requests that name none; None leaves it to the model."""
        if self.default_resolution is not None:
            return _size("default_resolution", self.default_resolution)
        return self.resolutions[0] if self.resolutions else None

    @property
    def default_num_steps(self) -> int:
        """The steps of requests that name no number."""
        return min(self.default_num_inference_steps, self.max_num_inference_steps)

    @property
    def max_num_images(self) -> int:
        """The most images of a request."""
        if self.max_num_images_per_prompt is None:
            return max(MAX_NUM_IMAGES, self.num_images_per_prompt or 0)
        return self.max_num_images_per_prompt

    def _device_problems(self) -> Sequence[str]:
        names = self.device.split()
        problems = []
        if len(names) not in (0, 1, 3):
            problems.append(f"device {self.device!r} names {len(names)} devices; possible: 1 or 3")
        if "NPU" in self.device and len((self.resolution or "").split()) != 1:
            problems.append("device NPU needs one resolution")
        return problems

    def _size_problems(self) -> Sequence[str]:
        sizes = self.resolutions
        problems = []
        if self.resolution is not None and not sizes:
            problems.append("resolution is empty; possible: one or several WxH")
        if len(set(sizes)) != len(sizes):
            problems.append(f"resolution {self.resolution!r} names a size twice")
        if sizes and self.max_resolution is not None:
            problems.append("resolution and max_resolution are both there; possible: one of them")
        default, largest = self.default_size, self.max_size
        if default is not None and not sizes and not _fits(default, largest):
            problems.append(f"default_resolution {default} exceeds max_resolution {largest}")
        if sizes and default not in sizes:
            found = f"default_resolution {default} is not among the sizes of resolution"
            problems.append(f"{found}: {', '.join(map(str, sizes))}")
        return problems

    def _count_problems(self) -> Sequence[str]:
        problems = []
        for name in ("num_images_per_prompt", "guidance_scale"):
            if getattr(self, name) is not None and self.static_size is None:
                problems.append(f"{name} needs a resolution of one size")
        if self.static_size is not None and self.max_num_images_per_prompt is not None:
            problems.append(
                "resolution has one size, so num_images_per_prompt sets the number of images; "
                "max_num_images_per_prompt cannot be there"
            )
        for name in (
            "num_images_per_prompt",
            "max_num_images_per_prompt",
            "default_num_inference_steps",
            "max_num_inference_steps",
        ):
            if getattr(self, name) == 0:
                problems.append(f"{name} is 0; it must be at least 1")
        return problems

    def _adapter_problems(self) -> Sequence[str]:
        aliases = [adapter.alias for adapter in self.lora_adapters]
        names = [*aliases, *(composite.alias for composite in self.composite_lora_adapters)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        problems = [f"two adapters have the alias {name!r}" for name in repeated]
        if "" in names:
            problems.append("an adapter has an empty alias")
        modes = sorted({adapter.mode for adapter in self.lora_adapters})
        if len(modes) > 1:
            found = " and ".join(mode.name for mode in modes)
            problems.append(f"lora_adapters have the modes {found}; all must have the same")
        for composite in self.composite_lora_adapters:
            if not composite.components:
                problems.append(f"composite adapter {composite.alias!r} has no components")
            problems += [
                f"composite adapter {composite.alias!r} names the adapter "
                f"{component.adapter_alias!r}; possible: {', '.join(aliases) or 'none'}"
                for component in composite.components
                if component.adapter_alias not in aliases
            ]
        return problems


def _size(name: str, text: str) -> ImageSize:
    try:
        return ImageSize.parse(text)
    except ValueError as error:
        raise ValueError(f"{name} {text!r} {error}") from error


def _fits(size: ImageSize, largest: ImageSize) -> bool:
    return size.width <= largest.width and size.height <= largest.height
