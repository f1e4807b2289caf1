"""OpenVINO Model Server's form of an inference node: a session, and a stream for each tensor.

https://github.com/openvinotoolkit/model_server/blob/main/docs/mediapipe.md
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calculators.inference.model_session import ModelSession
from calculators.inference.tag_names import TagName, names_by_tag
from server.errors import InvalidRequestError
from server.graph import Contract, EndOfStream, NodeConfig, ProcessContext, Tag
from server.graph.contract import NodePorts
from server.payloads import InferRequest
from server.tensors import Tensor

__all__ = ["SESSION", "SessionInference", "TensorNames", "is_session_node", "session_contract"]

SESSION = Tag("SESSION", ModelSession)
# Streams of these tags carry several tensors in one packet, in the order that an option says.
LIST_TAGS = ("OVTENSORS", "TENSORS", "TFLITE_TENSORS")


@dataclass(frozen=True)
class TensorNames:
    """The tensor of the model behind each tag; without an entry, the tag is its name."""

    of_inputs: Mapping[str, str]
    of_outputs: Mapping[str, str]
    input_order: Sequence[str]
    output_order: Sequence[str]

    @classmethod
    def of(
        cls,
        inputs: Sequence[TagName],
        outputs: Sequence[TagName],
        input_order: Sequence[str],
        output_order: Sequence[str],
    ) -> "TensorNames":
        """Raises ValueError for a tag that is there twice."""
        return cls(
            names_by_tag("tag_to_input_tensor_names", inputs),
            names_by_tag("tag_to_output_tensor_names", outputs),
            input_order,
            output_order,
        )


def is_session_node(node: NodeConfig) -> bool:
    """Whether a node is written in this form."""
    return any(text.startswith(f"{SESSION.name}:") for text in node.input_side_packets)


def session_contract(node: NodeConfig) -> Contract:
    """Tensors under the tags of the node."""
    return Contract(
        inputs=tuple(map(_tag, node.input_tags)),
        outputs=tuple(map(_tag, node.output_tags)),
        input_side_packets=(SESSION,),
    )


def _tag(name: str) -> Tag[Any]:
    return Tag(name, tuple if name.startswith(LIST_TAGS) else Tensor)


class SessionInference:
    """Sends each set of tensors to a session, and its answer to the streams of the node."""

    def __init__(self, session: ModelSession, ports: NodePorts, names: TensorNames) -> None:
        self._session = session
        self._inputs = [
            (tag, _names_of(tag, names.of_inputs, names.input_order))
            for tag in map(_tag, ports.inputs)
        ]
        self._outputs = [
            (tag, _names_of(tag, names.of_outputs, names.output_order))
            for tag in map(_tag, ports.outputs)
        ]

    async def process(self, cc: ProcessContext) -> None:
        """Answer set after set, until the inputs end."""
        while (tensors := await self._receive(cc)) is not None:
            wanted = [name for _, names in self._outputs for name in names]
            request = InferRequest(tuple(tensors), tuple(dict.fromkeys(wanted)))
            response = await self._session.infer(request)
            await self._send(cc, {tensor.name: tensor for tensor in response.outputs})

    async def _receive(self, cc: ProcessContext) -> list[Tensor] | None:
        tensors: list[Tensor] = []
        for tag, names in self._inputs:
            try:
                packet = await cc.receive(tag)
            except EndOfStream:
                return None
            found = packet if isinstance(packet, tuple) else (packet,)
            if names and len(found) != len(names):
                raise InvalidRequestError(
                    f"input {tag.name!r} brings {len(found)} tensors; "
                    f"the node names {len(names)}: {', '.join(names)}"
                )
            named = zip(names or [each.name for each in found], found, strict=True)
            tensors += (_renamed(tensor, name) for name, tensor in named)
        return tensors

    async def _send(self, cc: ProcessContext, found: Mapping[str, Tensor]) -> None:
        for tag, names in self._outputs:
            tensors = tuple(found[name] for name in names) if names else tuple(found.values())
            await cc.send(tag, tensors if tag.type is tuple else tensors[0])


def _names_of(tag: Tag[Any], by_tag: Mapping[str, str], order: Sequence[str]) -> Sequence[str]:
    """The tensors of a stream; none where a stream of several has the model's own order."""
    if tag.type is not tuple:
        return (by_tag.get(tag.name, tag.name),)
    return order or ((by_tag[tag.name],) if tag.name in by_tag else ())


def _renamed(tensor: Tensor, name: str) -> Tensor:
    """A tensor for the model, whose shape and datatype describe its data."""
    try:
        return Tensor(name, tensor.datatype, tensor.shape, tensor.data)
    except ValueError as error:
        raise InvalidRequestError(f"tensor {tensor.name!r}: {error}") from error
