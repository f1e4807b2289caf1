"""Calculators of tensors, as a user may write them."""

import asyncio
import dataclasses

import numpy as np

from server.errors import InvalidRequestError
from server.graph import Calculator, Contract, ProcessContext, Tag
from server.payloads import InferRequest, InferResponse
from server.tensors import Tensor

IN = Tag("INFER_REQUEST", InferRequest)
OUT = Tag("INFER_REQUEST", InferRequest)
RESPONSE = Tag("INFER_RESPONSE", InferResponse)


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


class RepeatCalculator(Calculator):
    """Answers with its inputs `times` times; `fail_at` is the number of the answer that fails."""

    contract = Contract(inputs=(IN,), outputs=(RESPONSE,))

    async def process(self, cc: ProcessContext) -> None:
        async for request in cc.input(IN):
            for number in range(int(request.parameters.get("times", 1))):
                if number == request.parameters.get("fail_at"):
                    raise InvalidRequestError(f"no answer {number}")
                if number == request.parameters.get("wait_at"):
                    await asyncio.Event().wait()
                await cc.output(RESPONSE).send(InferResponse(request.inputs))
