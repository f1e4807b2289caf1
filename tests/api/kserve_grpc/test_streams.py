"""ModelStreamInfer: a stream of requests, each with any number of answers."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.grpc_serving import running_grpc
from support.python_graphs import LOOP, python_graph, python_node, write_graph
from tritonclient.grpc import InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient

from server.api.kserve_grpc.settings import GrpcSettings
from server.models.config import load_config
from server.models.model_manager import ModelManager

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")

TIMESTAMP = "OVMS_MP_TIMESTAMP"
COUNT = """
import numpy as np
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        for number in range(int(np.array(inputs[0])[0])):
            yield [Tensor("number", np.array([number], np.int32))]
        yield [Tensor("end", b"")]
"""


def request_of(number: float, model: str = "repeat", **parameters: int) -> dict[str, Any]:
    tensor = InferInput("x", [1], "FP32")
    tensor.set_data_from_numpy(np.array([number], np.float32))
    return {
        "model_name": model,
        "inputs": [tensor],
        "request_id": f"id {number}",
        "parameters": parameters,
    }


async def ask(client: InferenceServerClient, *requests: dict[str, Any]) -> list[Any]:
    """The answers, each the client's result, or its error."""

    async def send() -> AsyncIterator[dict[str, Any]]:
        for request in requests:
            yield request

    answers = client.stream_infer(send())
    return [result if error is None else error async for result, error in answers]


def values(results: list[Any]) -> list[float]:
    return [float(result.as_numpy("x")[0]) for result in results]


async def test_each_request_has_its_answers(client: InferenceServerClient) -> None:
    results = await ask(client, request_of(1), request_of(2, times=3), request_of(3))
    assert values(results) == [1, 2, 2, 2, 3]
    responses = [result.get_response() for result in results]
    assert [each.id for each in responses] == ["id 1", "id 2", "id 2", "id 2", "id 3"]
    assert {each.model_name for each in responses} == {"repeat"}


async def test_a_request_that_fails_leaves_the_stream_open(client: InferenceServerClient) -> None:
    results = await ask(
        client,
        request_of(1, times=3, fail_at=1),
        request_of(2, "nothing"),
        request_of(3, "echo"),
        request_of(4),
    )
    first, *errors, last = results
    assert values([first, last]) == [1, 4]
    assert [error.message() for error in errors[:1]] == ["no answer 1"]
    assert "there is no model 'nothing'" in errors[1].message()
    assert "does not serve this endpoint" in errors[2].message()


@pytest.mark.parametrize(
    ("model", "code"),
    [("nothing", "NOT_FOUND"), ("broken", "UNAVAILABLE"), ("echo", "FAILED_PRECONDITION")],
)
async def test_a_first_request_for_no_tensor_model_ends_the_stream(
    client: InferenceServerClient, model: str, code: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(client, request_of(1, model))
    assert error.value.code() == grpc.StatusCode[code]


async def test_timestamps(client: InferenceServerClient) -> None:
    now = time.time_ns() // 1000
    results = await ask(client, request_of(1, times=2, **{TIMESTAMP: 7}), request_of(2))
    found = [result.get_response().parameters[TIMESTAMP].int64_param for result in results]
    assert found[:2] == [7, 7]
    assert now <= found[2] <= now + 60_000_000


async def test_a_timestamp_that_is_none(client: InferenceServerClient) -> None:
    [error] = await ask(client, {**request_of(1), "parameters": {TIMESTAMP: "soon"}})
    assert error.message() == f"the parameter {TIMESTAMP} must be int64_param"


async def test_a_python_node_streams_what_it_yields(tmp_path: Path) -> None:
    """A graph of Model Server's with a generator and two outputs."""
    node = python_node("node", "INPUT:limit", "NUMBER:number END:end", more=LOOP)
    outputs = "OVMS_PY_TENSOR_1:number OVMS_PY_TENSOR_2:end"
    write_graph(
        tmp_path / "count", python_graph("OVMS_PY_TENSOR:limit", outputs, node), model=COUNT
    )
    (tmp_path / "config.json").write_text('{"model_config_list": [{"config": {"name": "count"}}]}')
    manager = ModelManager(load_config(tmp_path))
    await manager.load_all()
    limit = InferInput("limit", [1], "INT32")
    limit.set_data_from_numpy(np.array([3], np.int32))
    request = {"model_name": "count", "inputs": [limit], "parameters": {TIMESTAMP: 7}}
    async with running_grpc(manager) as address, InferenceServerClient(address) as client:
        results = await ask(client, request)
        unary = await client.infer("count", [limit], outputs=[InferRequestedOutput("number")])
    await manager.close(0)
    responses = [result.get_response() for result in results]
    names = [response.outputs[0].name for response in responses]
    times = [response.parameters[TIMESTAMP].int64_param for response in responses]
    assert list(zip(names, times, strict=True)) == [
        ("number", 7),
        ("number", 8),
        ("number", 9),
        ("end", 10),
    ]
    assert [result.as_numpy("number").tolist() for result in results[:3]] == [[0], [1], [2]]
    assert unary.as_numpy("number").tolist() == [0]


async def test_a_classic_model_can_be_streamed_too(client: InferenceServerClient) -> None:
    tensors = [InferInput(name, [1, 3], "FP32") for name in "xy"]
    for tensor in tensors:
        tensor.set_data_from_numpy(np.ones((1, 3), np.float32))
    request = {"model_name": "org/add", "inputs": tensors}
    for result in await ask(client, request, request):
        assert_array_equal(result.as_numpy("sum"), [[2, 2, 2]])


async def test_a_stream_without_requests(client: InferenceServerClient) -> None:
    assert await ask(client) == []


async def until_idle(manager: ModelManager, name: str = "repeat", count: int = 0) -> None:
    graph = manager.get(name).graph
    async with asyncio.timeout(60):
        while graph.num_running != count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_answers_come_as_they_are_made_and_a_client_may_leave(
    client: InferenceServerClient, manager: ModelManager
) -> None:
    async def send() -> AsyncIterator[dict[str, Any]]:
        yield request_of(1, times=3, wait_at=2)
        await asyncio.Event().wait()

    answers = client.stream_infer(send())
    results = [(await anext(answers))[0] for _ in range(2)]
    assert values(results) == [1, 1]
    await until_idle(manager, count=1)
    answers.cancel()
    await until_idle(manager)


class TestTimeLimit:
    """--request_timeout_s counts for each request of a stream."""

    @pytest.fixture
    def settings(self) -> GrpcSettings:
        return GrpcSettings(request_timeout_s=0.2)

    async def test_it_ends_one_request(self, client: InferenceServerClient) -> None:
        results = await ask(client, request_of(1, wait_at=0), request_of(2))
        assert results[0].message() == "the request was not finished within 0.2 s"
        assert values(results[1:]) == [2]


async def test_the_last_answers_reach_a_client_that_sends_no_more(address: str) -> None:
    request = service_pb2.ModelInferRequest(model_name="repeat")
    request.parameters["times"].int64_param = 1000
    async with grpc.aio.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = [answer async for answer in stub.ModelStreamInfer(iter([request]))]
    assert len(answers) == 1000
