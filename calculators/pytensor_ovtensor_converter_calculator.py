"""OpenVINO Model Server's converter between tensors of Python nodes and of models."""

from dataclasses import dataclass
from typing import ClassVar

from calculators.inference.tag_names import TagName, names_by_tag
from server.errors import InvalidRequestError
from server.graph import Calculator, Contract, NodeConfig, OpenContext, ProcessContext, Tag
from server.tensors import ITEM_SIZES, Tensor

__all__ = ["PyTensorOvTensorConverterCalculator", "PyTensorOvTensorConverterCalculatorOptions"]

PY_TENSOR = Tag("OVMS_PY_TENSOR", Tensor)
OV_TENSOR = Tag("OVTENSOR", Tensor)


@dataclass(frozen=True)
class PyTensorOvTensorConverterCalculatorOptions:
    """The name of the tensor for a Python node, under the key OVMS_PY_TENSOR."""

    PROTO_NAME: ClassVar[str] = "mediapipe.PyTensorOvTensorConverterCalculatorOptions"

    tag_to_output_tensor_names: tuple[TagName, ...] = ()

    def __post_init__(self) -> None:
        names_by_tag("tag_to_output_tensor_names", self.tag_to_output_tensor_names)


class PyTensorOvTensorConverterCalculator(Calculator[PyTensorOvTensorConverterCalculatorOptions]):
    """Between Python nodes and models: names tensors, and refuses what no model takes.

    In OVMS the two kinds of tensors are different packets. Here they are one, so that a graph may
    also do without the converter.
    """

    contract = Contract(inputs=(PY_TENSOR,), outputs=(OV_TENSOR,))

    @classmethod
    def contract_for(cls, node: NodeConfig) -> Contract:
        """From OVMS_PY_TENSOR to OVTENSOR, or the reverse."""
        if OV_TENSOR.name in node.input_tags:
            return Contract(inputs=(OV_TENSOR,), outputs=(PY_TENSOR,))
        return cls.contract

    def open(self, cc: OpenContext) -> None:
        """Note the direction, and the name of the tensor that comes out."""
        (self._input,) = (Tag(tag, Tensor) for tag in cc.ports.inputs)
        ((tag, stream),) = cc.ports.outputs.items()
        self._output = Tag(tag, Tensor)
        names = names_by_tag("", self.options.tag_to_output_tensor_names)
        self._name = names.get(tag, stream)

    async def process(self, cc: ProcessContext) -> None:
        """Convert each tensor."""
        async for tensor in cc.input(self._input):
            await cc.send(self._output, self._convert(tensor))

    def _convert(self, tensor: Tensor) -> Tensor:
        if self._output == OV_TENSOR and tensor.datatype not in (*ITEM_SIZES, "BYTES"):
            raise InvalidRequestError(
                f"tensor {tensor.name!r} has datatype {tensor.datatype!r}; a model takes "
                f"{', '.join(ITEM_SIZES)} or BYTES"
            )
        try:
            return Tensor(self._name, tensor.datatype, tensor.shape, tensor.data)
        except ValueError as error:
            raise InvalidRequestError(f"tensor {tensor.name!r}: {error}") from error
