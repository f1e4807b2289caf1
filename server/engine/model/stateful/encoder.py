"""The encoder of an encoder-decoder model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.config import PluginValue
from server.engine.model.device import Device
from server.engine.model.loading.compilation import compile_for
from server.engine.model.loading.files import read_graph
from server.engine.model.model_info import context_length, read_config
from server.errors import ModelLoadError
from server.host.model_files import ENCODER_FILE
from server.host.openvino_core import shared_core

__all__ = [
    "Encoder",
    "EncoderLimits",
    "EncoderRequest",
    "load_encoder",
    "read_encoder",
    "read_prefix",
]

Ints = npt.NDArray[np.int64]


class EncoderLimits(NamedTuple):
    """The most tokens of a prompt, which an encoder reads, and of the decoder's answer."""

    prompt: int
    answer: int


@dataclass(frozen=True, slots=True)
class Encoder:
    """The encoder reads the prompt; the decoder then writes the answer after the tokens `prefix`.

    The prompt has at most `max_len` tokens, and so have the prefix and the answer together; None is
    no limit.
    """

    compiled: ov.CompiledModel
    prefix: tuple[int, ...]
    max_len: int | None

    def limits(self, num_tokens: int) -> "EncoderLimits":
        """The limits of prompts and answers where a sequence has room for `num_tokens`."""
        longest = num_tokens // 2 if self.max_len is None else min(self.max_len, num_tokens // 2)
        return EncoderLimits(longest, max(1, longest - len(self.prefix)))


class EncoderRequest:
    """The infer request of an encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self._request = encoder.compiled.create_infer_request()
        self._names = {name for port in encoder.compiled.inputs for name in port.get_names()}

    def read(self, prompt: Ints) -> dict[str, npt.NDArray[Any]]:
        """The decoder's inputs that say what the prompt is; a copy."""
        mask = np.ones((1, len(prompt)), np.int64)
        inputs = {"input_ids": prompt[None], "attention_mask": mask}
        for name in self._names.intersection(inputs):
            self._request.set_tensor(name, ov.Tensor(inputs[name]))
        self._request.infer(share_outputs=True)
        hidden = np.array(self._request.get_output_tensor(0).data)
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}


def load_encoder(
    models_path: Path, device: Device, plugin_config: Mapping[str, PluginValue]
) -> Encoder:
    """Read and compile the encoder in a folder. Raises ModelLoadError."""
    prefix = read_prefix(models_path)
    # The lease is on the decoder's weights alone.
    model = read_encoder(models_path, is_mapped=False)
    properties = device.compile_properties(shared_core(), plugin_config)
    compiled = compile_for(model, device, properties, models_path)
    return Encoder(compiled, prefix, _most_positions(read_config(models_path / "config.json")))


def read_encoder(models_path: Path, *, is_mapped: bool) -> ov.Model:
    """Read the encoder in a folder. Raises ModelLoadError for one that reads no tokens."""
    xml = models_path / ENCODER_FILE
    model = read_graph(xml, is_mapped=is_mapped)
    names = [port.get_any_name() for port in model.inputs]
    if not any("input_ids" in port.get_names() for port in model.inputs):
        raise ModelLoadError(
            f"{xml}: has the inputs {', '.join(names)}; the encoder of a model that generates text "
            "has input_ids"
        )
    return model


def read_prefix(models_path: Path) -> tuple[int, ...]:
    """What the decoder begins with, by the files of a folder. Raises ModelLoadError."""
    config = read_config(models_path / "config.json")
    generation = read_config(models_path / "generation_config.json")
    try:
        return decoder_prefix(config, generation)
    except ModelLoadError as error:
        raise ModelLoadError(f"{models_path}: {error}") from error


def decoder_prefix(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens with which the decoder begins: the start, and a forced first one if there is one.

    Raises ModelLoadError where neither file names a start.
    """
    sources = (generation, config)
    keys = ("decoder_start_token_id", "bos_token_id")
    values = [source.get(key) for key in keys for source in sources]
    start: Any = next((value for value in values if value is not None), None)
    # As transformers do, which read config.json only where there is no generation_config.json.
    forced = (generation or config).get("forced_bos_token_id")
    prefix: tuple[int, ...] = (start,) if forced is None else (start, forced)
    if not all(type(token) is int and token >= 0 for token in prefix):
        raise ModelLoadError(
            f"the decoder begins with decoder_start_token_id {start!r} and forced_bos_token_id "
            f"{forced!r} of generation_config.json or config.json; they must be token ids"
        )
    return prefix


def _most_positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens of a prompt; None for a model with relative positions, as T5 has them."""
    return None if "relative_attention_num_buckets" in config else context_length(config)
