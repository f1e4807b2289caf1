"""The borders of graphs in OpenVINO Model Server's form, which have a stream for each tensor."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from calculators.python_nodes.packets import step_of
from calculators.tags import INFER_REQUEST, INFER_RESPONSE, SIGNATURE
from server.errors import InvalidRequestError, did_you_mean
from server.graph import Calculator, Contract, NodeConfig, OpenContext, ProcessContext, Tag
from server.payloads import InferRequest, InferResponse
from server.tensors import ModelSignature, Tensor, TensorInfo

__all__ = ["TensorInputsCalculator", "TensorOutputsCalculator"]

INPUT_NAMES: Tag[tuple[Any, ...]] = Tag("INPUT_NAMES", tuple)


class TensorInputsCalculator(Calculator):
    """Parts a request: each tensor goes to the stream of its name."""

    contract = Contract(inputs=(INFER_REQUEST,), output_side_packets=(INPUT_NAMES,))

    @classmethod
    def contract_for(cls, node: NodeConfig) -> Contract:
        """A tensor under every tag of an output."""
        outputs = tuple(Tag(tag, Tensor) for tag in node.output_tags)
        return replace(cls.contract, outputs=outputs)

    def open(self, cc: OpenContext) -> None:
        """Note the names of the streams."""
        self._tags = {name: Tag(tag, Tensor) for tag, name in cc.ports.outputs.items()}
        cc.set_side_packet(INPUT_NAMES, tuple(self._tags))

    async def process(self, cc: ProcessContext) -> None:
        """Send the tensors of one request. Raises InvalidRequestError for wrong names."""
        request = await cc.receive(INFER_REQUEST)
        tensors: dict[str, Tensor] = {}
        for tensor in request.inputs:
            _check_name("input", tensor.name, self._tags)
            if tensor.name in tensors:
                raise InvalidRequestError(f"input {tensor.name!r} is given twice", "inputs")
            tensors[tensor.name] = tensor
        missing = [name for name in self._tags if name not in tensors]
        # In a stream of requests, each may bring a part of the inputs.
        if missing and not (request.is_streamed and tensors):
            raise InvalidRequestError(f"inputs that are missing: {', '.join(missing)}", "inputs")
        for name, tensor in tensors.items():
            await cc.send(self._tags[name], tensor)


class TensorOutputsCalculator(Calculator):
    """Makes an answer of the tensors in several streams, or an answer of each in a stream."""

    contract = Contract(
        inputs=(INFER_REQUEST,),
        outputs=(INFER_RESPONSE,),
        input_side_packets=(INPUT_NAMES,),
        output_side_packets=(SIGNATURE,),
    )

    @classmethod
    def contract_for(cls, node: NodeConfig) -> Contract:
        """A tensor under every other tag of an input."""
        tags = (tag for tag in node.input_tags if tag != INFER_REQUEST.name)
        return replace(cls.contract, inputs=(INFER_REQUEST, *(Tag(tag, Tensor) for tag in tags)))

    def open(self, cc: OpenContext) -> None:
        """Note the names of the streams."""
        streams = {tag: name for tag, name in cc.ports.inputs.items() if tag != INFER_REQUEST.name}
        self._tags = {name: Tag(tag, Tensor) for tag, name in streams.items()}
        names = cc.side_packet(INPUT_NAMES)
        signature = ModelSignature(_describe(names), _describe(self._tags))
        cc.set_side_packet(SIGNATURE, signature)

    async def process(self, cc: ProcessContext) -> None:
        """Answer one request. Raises InvalidRequestError if an output has no tensor."""
        request = await cc.receive(INFER_REQUEST)
        wanted = self._wanted(request)
        if request.is_streamed:
            await self._stream(cc, wanted)
        else:
            await self._answer(cc, wanted)

    def _wanted(self, request: InferRequest) -> Sequence[str]:
        for name in request.outputs:
            _check_name("output", name, self._tags)
        return request.outputs or tuple(self._tags)

    async def _answer(self, cc: ProcessContext, wanted: Sequence[str]) -> None:
        """Answer with the first tensor of each output."""
        found: dict[str, Tensor] = {}
        readers: list[asyncio.Task[None]] = []

        async def read(name: str, tag: Tag[Tensor]) -> None:
            # To the end, and if it is not wanted: a node that waits for room in this stream could
            # not write into another.
            async for tensor in cc.input(tag):
                if name in wanted:
                    found.setdefault(name, tensor)
                if len(found) == len(wanted):
                    for reader in readers:
                        reader.cancel()

        async with asyncio.TaskGroup() as group:
            readers += (group.create_task(read(*output)) for output in self._tags.items())
        missing = [name for name in wanted if name not in found]
        if missing:
            names = ", ".join(missing)
            raise InvalidRequestError(f"the graph gave nothing for the outputs: {names}", "outputs")
        outputs = (_named(found[name], name) for name in wanted)
        await cc.send(INFER_RESPONSE, InferResponse(tuple(outputs)))

    async def _stream(self, cc: ProcessContext, wanted: Sequence[str]) -> None:
        """Answer with each tensor as it comes."""

        async def pass_on(name: str, tag: Tag[Tensor]) -> None:
            step = 0
            async for tensor in cc.input(tag):
                # Of a Python node the number of its set, of others the number in their stream.
                step = max(step, step_of(tensor))
                if name in wanted:
                    await cc.send(INFER_RESPONSE, InferResponse((_named(tensor, name),), step))
                step += 1

        async with asyncio.TaskGroup() as group:
            for name, tag in self._tags.items():
                group.create_task(pass_on(name, tag))


def _check_name(kind: str, name: str, possible: Collection[str]) -> None:
    if name not in possible:
        hint = did_you_mean(name, possible) or f"; possible: {', '.join(possible)}"
        raise InvalidRequestError(f"the graph has no {kind} {name[:100]!r}{hint}", f"{kind}s")


def _describe(names: Iterable[str]) -> tuple[TensorInfo, ...]:
    """As OVMS describes the tensors of a graph: only their names are known."""
    return tuple(TensorInfo(name, "INVALID", ()) for name in names)


def _named(tensor: Tensor, name: str) -> Tensor:
    """The tensor under the name of its stream."""
    return tensor if tensor.name == name else replace(tensor, name=name)
