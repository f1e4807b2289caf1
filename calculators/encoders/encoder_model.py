"""A text encoder in OpenVINO: its inputs, its compilation, and one inference."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from calculators.encoders.batch_planning import padded_length, padded_num_rows
from calculators.encoders.encoder_service import EncoderRow, Vector
from calculators.inference.inference_model import (
    ModelSettings,
    check_device,
    compile_model,
    read_model_file,
)
from calculators.inference.openvino_ir import find_ops
from server.errors import GenerationError, ModelLoadError
from server.host.model_files import MODEL_FILE
from server.host.openvino_core import default_device
from server.host.openvino_errors import error_summary

__all__ = [
    "EncoderModel",
    "Head",
    "check_encoder",
    "generates_text",
    "read_encoder",
    "with_cpu_properties",
]

logger = logging.getLogger(__name__)

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
# Where weights are int8, the CPU rounds activations to int8 in groups of so many values. With 32,
# OpenVINO's default, BERT-base took 1.27 times as long on a CPU with AVX-512. Vectors lose little:
# their cosine with those in f32 fell from 0.99978 to 0.99976. A decoder of 0.6 billion parameters
# took 1.23 times as long. In bf16 on a CPU with AMX nothing is rounded so, and the property has no
# effect (OpenVINO's source; not measured).
CPU_PROPERTIES = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "128"}

Head = Callable[[Any], Any]
"""Completes a model that was read: ov.Model -> ov.Model whose output has a row for each text.

A second output may have a vector for each token. Raises ValueError for a model that it cannot
complete.
"""


def generates_text(folder: Path) -> bool:
    """Whether a model was exported to generate text: it has a KV cache of its own."""
    try:
        return b'"beam_idx"' in (folder / MODEL_FILE).read_bytes()
    except OSError:
        return False


def read_encoder(folder: Path, *, is_mapped: Any = True) -> Any:
    """Read a model and check that it is a text encoder. Raises ModelLoadError."""
    file = folder / MODEL_FILE
    model = read_model_file(file, ModelSettings(), is_mapped=is_mapped)
    names = [_input_name(port) for port in model.inputs]
    if "beam_idx" in names or find_ops(model, "ReadValue"):
        raise ModelLoadError(
            f"{file}: generates text, with a KV cache inside; a text encoder has none. Export it "
            "again for the task feature-extraction"
        )
    if "input_ids" not in names or not set(names) <= {*INPUTS}:
        raise ModelLoadError(
            f"{file}: has the inputs {', '.join(names)}; a text encoder has input_ids, and may "
            f"have {', '.join(INPUTS[1:])}"
        )
    for name, port in zip(names, model.inputs, strict=True):
        shape = port.get_partial_shape()
        if shape.rank.is_dynamic or len(shape) != 2 or any(d.is_static for d in shape):
            raise ModelLoadError(
                f"{file}: input {name} has shape {shape}; possible: [?,?], any number of rows of "
                "any length"
            )
    return model


def check_encoder(folder: Path, device: str, head: Head) -> None:
    """Do all of EncoderModel that needs no compilation. Raises ModelLoadError."""
    check_device(device)
    _completed(folder, read_encoder(folder), head)


class EncoderModel:
    """A compiled encoder; as many threads as it has streams may infer at a time.

    The head's first output is [rows, ...]; what belongs to a row is its result. Rows are padded on
    the right with `pad_token_id`, and results do not depend on it. `max_length` is the most tokens
    of a row. `gives_tokens` says whether there are vectors of tokens. Raises ModelLoadError.
    """

    def __init__(
        self,
        folder: Path,
        settings: ModelSettings,
        head: Head,
        *,
        max_length: int,
        pad_token_id: int = 0,
        vocab_size: int | None = None,
    ) -> None:
        self._file = folder / MODEL_FILE
        is_mapped = settings.plugin_config.get("ENABLE_MMAP", False)
        model = _completed(folder, read_encoder(folder, is_mapped=is_mapped), head)
        self._names = [_input_name(port) for port in model.inputs]
        table_size = _num_embeddings(model)
        known = [size for size in (vocab_size, table_size) if size is not None]
        self.vocab_size = min(known, default=None)
        self.max_length = max_length
        self._pad_token_id = min(pad_token_id, (self.vocab_size or pad_token_id + 1) - 1)
        self._compiled = compile_model(model, self._file, with_cpu_properties(settings))
        self._types = [port.get_element_type().to_dtype() for port in self._compiled.inputs]
        self.gives_tokens = len(self._compiled.outputs) > 1
        self.num_streams = max(1, self._property("OPTIMAL_NUMBER_OF_INFER_REQUESTS", 1))
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self._failure: str | None = None

    def infer(self, rows: Sequence[EncoderRow]) -> Sequence[Vector | Exception]:
        """Run one batch. If it fails, its rows are tried one by one."""
        try:
            return self._infer(rows)
        except (RuntimeError, MemoryError) as error:
            reason = error_summary(error)
        logger.warning("%s: inference of %d texts failed: %s", self._file, len(rows), reason)
        if len(rows) > 1:
            return [output for row in rows for output in self.infer([row])]
        self._probe()
        problem = f"the model could not compute this text of {len(rows[0])} tokens: {reason}"
        return [GenerationError(problem)]

    def status(self) -> Mapping[str, Any]:
        """The device and its streams."""
        devices = self._property("EXECUTION_DEVICES", [])
        precision = self._property("INFERENCE_PRECISION_HINT", None)
        return {
            "device": ", ".join(map(str, devices)),
            "num_streams": self.num_streams,
            "inference_precision": None if precision is None else precision.get_type_name(),
        }

    def health(self) -> str | None:
        """Why the device cannot be used any more; None if it can."""
        return self._failure

    def close(self) -> None:
        """Free the model."""
        self._idle.clear()
        self._compiled = None

    def _infer(self, rows: Sequence[EncoderRow]) -> list[Vector | Exception]:
        request = self._take()
        inputs = self._pad(rows)
        for index, name in enumerate(self._names):
            request.set_input_tensor(index, _tensor(inputs[name], self._types[index]))
        request.start_async()
        request.wait()
        outputs = list(request.get_output_tensor(0).data[: len(rows)].astype(np.float32))
        for index, row in enumerate(rows):
            if row.of_tokens:
                tokens = request.get_output_tensor(1).data[index, : len(row)]
                outputs[index] = tokens.astype(np.float32)
        with self._lock:
            self._idle.append(request)
        return [_checked(output) for output in outputs]

    def _take(self) -> Any:
        """An infer request that no other thread uses. One that failed is not used again."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._compiled.create_infer_request()

    def _pad(self, rows: Sequence[EncoderRow]) -> Mapping[str, npt.NDArray[np.int64]]:
        """The model's inputs, each [rows, tokens], padded to one of few shapes."""
        length = padded_length(max(map(len, rows)), self.max_length)
        shape = (padded_num_rows(len(rows)), length)
        ids = np.full(shape, self._pad_token_id, np.int64)
        mask, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row.token_ids
            mask[index, : len(row)] = 1
            if row.token_type_ids is not None:
                types[index, : len(row)] = row.token_type_ids
        # Attention to no token at all divides by zero.
        mask[len(rows) :, 0] = 1
        positions = np.broadcast_to(np.arange(length), shape)
        return dict(zip(INPUTS, (ids, mask, types, positions), strict=True))

    def _probe(self) -> None:
        """After a failure, find out whether the device or the text is the reason."""
        try:
            self._infer([EncoderRow((self._pad_token_id,))])
        except (RuntimeError, MemoryError) as error:
            self._failure = f"inference fails for any text: {error_summary(error)}"
            logger.error("%s: %s", self._file, self._failure)

    def _property(self, name: str, default: Any) -> Any:
        # Not every device has every property.
        with suppress(RuntimeError):
            return self._compiled.get_property(name)
        return default


def with_cpu_properties(settings: ModelSettings) -> ModelSettings:
    """The settings with CPU_PROPERTIES, where the model runs there and names no others."""
    if (settings.device or default_device()) != "CPU":
        return settings
    return replace(settings, plugin_config={**CPU_PROPERTIES, **settings.plugin_config})


def _completed(folder: Path, model: Any, head: Head) -> Any:
    try:
        return head(model)
    except (ValueError, RuntimeError) as error:
        raise ModelLoadError(f"{folder / MODEL_FILE}: {error_summary(error)}") from error


def _input_name(port: Any) -> str:
    """The name among INPUTS, if the port has one of them."""
    names = sorted(port.get_names())
    return next((name for name in names if name in INPUTS), names[0] if names else "")


def _num_embeddings(model: Any) -> int | None:
    """The length of the table that token ids are looked up in, where it can be seen."""
    for gather in find_ops(model, "Gather"):
        if _input_name_of(gather.input_value(1)) == "input_ids":
            shape = gather.input_value(0).get_partial_shape()
            if shape.is_static and len(shape) == 2:
                return int(shape[0].get_length())
    return None


def _input_name_of(output: Any) -> str:
    """The name of the input that these indices come from, unchanged but for their type."""
    node = output.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return _input_name(node.output(0)) if node.get_type_name() == "Parameter" else ""


def _tensor(values: npt.NDArray[np.int64], dtype: Any) -> Any:
    return ov.Tensor(np.ascontiguousarray(values, dtype))


def _checked(output: Vector) -> Vector | Exception:
    if np.isfinite(output).all():
        return output
    return GenerationError(
        "the model's output is not a number: its weights or the inference precision are the "
        'reason; plugin_config {"INFERENCE_PRECISION_HINT": "f32"} may help'
    )
