"""The inputs and outputs of a compiled model, and the tensors of a request for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import openvino as ov

from calculators.inference.images import decode_images
from calculators.inference.openvino_tensors import datatype_of
from server.errors import InvalidRequestError, ModelLoadError, did_you_mean
from server.tensors import ModelSignature, Tensor, TensorInfo

__all__ = ["ModelPorts", "Port", "names_of"]


def names_of(port: Any) -> list[str]:
    """All names of a port of OpenVINO; the first is shown to clients."""
    names = port.get_names()
    if not names:
        return [str(port.get_node().get_friendly_name())]
    first = port.get_any_name()
    return [first, *sorted(names - {first})]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a model; `shape` is OpenVINO's, with the bounds of its dimensions.

    `layout` is OpenVINO's, too: [N,H,W,C], or [...] where nothing is known.
    """

    index: int
    names: Sequence[str]
    info: TensorInfo
    shape: Any
    layout: str

    @classmethod
    def of(cls, index: int, port: Any) -> "Port":
        """Describe a port of OpenVINO; raises ModelLoadError for a type that KServe lacks."""
        names = names_of(port)
        datatype = datatype_of(port.get_element_type())
        if datatype is None:
            found = port.get_element_type().get_type_name()
            raise ModelLoadError(
                f"tensor {names[0]!r} has type {found}, which KServe does not have"
            )
        shape = port.get_partial_shape()
        lengths: tuple[int, ...] = (-1,)
        if shape.rank.is_static:
            lengths = tuple(d.get_length() if d.is_static else -1 for d in shape)
        layout = str(ov.layout_helpers.get_layout(port))
        return cls(index, names, TensorInfo(names[0], datatype, lengths), shape, layout)

    def takes_as_image(self, tensor: Tensor) -> bool:
        """Whether a tensor can only be encoded images for this input."""
        return tensor.datatype == "BYTES" and self.info.datatype != "BYTES"

    def check(self, tensor: Tensor) -> None:
        """Raise InvalidRequestError for a tensor that does not fit this input."""
        name = tensor.name
        if tensor.datatype != self.info.datatype:
            raise InvalidRequestError(
                f"input {name!r} has datatype {tensor.datatype}; "
                f"the model takes {self.info.datatype}",
                "inputs",
            )
        if tensor.datatype == "BYTES":
            try:
                tensor.check_elements()
            except ValueError as error:
                raise InvalidRequestError(f"input {name!r}: {error}", "inputs") from error
        if tensor.num_elements == 0:
            # Some models answer an empty tensor with the result of another request.
            raise InvalidRequestError(
                f"input {name!r} has shape {list(tensor.shape)}; "
                "every dimension must be at least 1",
                "inputs",
            )
        if not self.shape.compatible(ov.PartialShape(list(tensor.shape))):
            possible = str(self.shape).replace("?", "-1").replace(",", ", ")
            raise InvalidRequestError(
                f"input {name!r} has shape {list(tensor.shape)}; the model takes {possible}",
                "inputs",
            )


class ModelPorts:
    """All ports of a compiled model."""

    def __init__(self, compiled: Any) -> None:
        self.inputs = tuple(Port.of(i, port) for i, port in enumerate(compiled.inputs))
        self.outputs = tuple(Port.of(i, port) for i, port in enumerate(compiled.outputs))

    @property
    def signature(self) -> ModelSignature:
        """What clients are told of the model."""
        return ModelSignature(
            tuple(port.info for port in self.inputs), tuple(port.info for port in self.outputs)
        )

    def has_images(self, tensors: Sequence[Tensor]) -> bool:
        """Whether some tensors are encoded images."""
        return any(
            tensor.name in port.names and port.takes_as_image(tensor)
            for tensor in tensors
            for port in self.inputs
        )

    def decode_images(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors, with pixels instead of encoded images; takes long. Raises
        InvalidRequestError."""
        return [self._decode(tensor) for tensor in tensors]

    def sort_inputs(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors in the order of the inputs. Raises InvalidRequestError."""
        found: dict[int, Tensor] = {}
        for tensor in tensors:
            port = _find(self.inputs, tensor.name, "input")
            if port.index in found:
                raise InvalidRequestError(f"input {tensor.name!r} is given twice", "inputs")
            port.check(tensor)
            found[port.index] = tensor
        missing = [port.info.name for port in self.inputs if port.index not in found]
        if missing:
            raise InvalidRequestError(f"inputs that are missing: {', '.join(missing)}", "inputs")
        return [found[port.index] for port in self.inputs]

    def _decode(self, tensor: Tensor) -> Tensor:
        port = _find(self.inputs, tensor.name, "input")
        if not port.takes_as_image(tensor):
            return tensor
        return decode_images(tensor, port.info, port.shape, port.layout)

    def find_outputs(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """Name and index of the outputs with these names, or of all if there are none.

        Raises InvalidRequestError.
        """
        wanted = names or [port.info.name for port in self.outputs]
        return [(name, _find(self.outputs, name, "output").index) for name in wanted]


def _find(ports: Sequence[Port], name: str, kind: str) -> Port:
    for port in ports:
        if name in port.names:
            return port
    names = [port.info.name for port in ports]
    hint = did_you_mean(name, names) or f"; possible: {', '.join(names)}"
    raise InvalidRequestError(f"the model has no {kind} {name[:100]!r}{hint}", f"{kind}s")
