"""A calculator of tensors, as a user may put one before a model."""

import dataclasses

import numpy as np

from server.graph import Calculator, Contract, ProcessContext, Tag
from server.payloads import InferRequest
from server.tensors import Tensor

IN = Tag("INFER_REQUEST", InferRequest)
OUT = Tag("INFER_REQUEST", InferRequest)


class ScaleCalculator(Calculator):
    """Multiplies what comes in by the parameter `scale` of the request."""

    contract = Contract(inputs=(IN,), outputs=(OUT,))

    async def process(self, cc: ProcessContext) -> None:
        async for request in cc.input(IN):
            scale = np.float32(request.parameters["scale"])
            inputs = tuple(_scaled(tensor, scale) for tensor in request.inputs)
            await cc.output(OUT).send(dataclasses.replace(request, inputs=inputs, parameters={}))


def _scaled(tensor: Tensor, scale: np.float32) -> Tensor:
    array = np.frombuffer(tensor.data, np.float32) * scale
    return dataclasses.replace(tensor, data=array.tobytes())
