"""What the server and its models tell of themselves, asked by NVIDIA's client."""

import pytest
from support.grpc_serving import running_grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from server.host.version import DISTRIBUTION, version
from server.models.model_manager import ModelManager

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_server(client: InferenceServerClient) -> None:
    assert await client.is_server_live()
    assert not await client.is_server_ready(), "one of its models is broken"
    metadata = await client.get_server_metadata()
    assert (metadata.name, metadata.version) == (DISTRIBUTION, version())


async def test_a_server_that_stops_is_not_ready(own_manager: ModelManager) -> None:
    async with running_grpc(own_manager) as address, InferenceServerClient(address) as client:
        assert await client.is_model_ready("org/add")
        await own_manager.close(0)
        assert await client.is_server_live()
        assert not await client.is_server_ready()
        assert not await client.is_model_ready("org/add")


async def test_ready_models(client: InferenceServerClient) -> None:
    for name in ("org/add", "echo", "repeat"):
        assert await client.is_model_ready(name)
    assert await client.is_model_ready("org/add", "3")
    assert not await client.is_model_ready("broken")
    for name, model_version in (("nothing", ""), ("org/add", "2"), ("org/add", "x")):
        with pytest.raises(InferenceServerException) as error:
            await client.is_model_ready(name, model_version)
        assert error.value.status() == "StatusCode.NOT_FOUND"


async def test_metadata_of_a_model(client: InferenceServerClient) -> None:
    metadata = await client.get_model_metadata("org/add", as_json=True)
    fp32 = {"datatype": "FP32", "shape": ["-1", "3"]}
    assert metadata == {
        "name": "org/add",
        "versions": ["1", "3"],
        "platform": "OpenVINO",
        "inputs": [{"name": "x", **fp32}, {"name": "y", **fp32}],
        "outputs": [{"name": "sum", **fp32}, {"name": "product", **fp32}],
    }


async def test_metadata_of_graphs(client: InferenceServerClient) -> None:
    """As in Model Server: the streams, of an unknown type and shape."""
    metadata = await client.get_model_metadata("echo", as_json=True)
    assert metadata == {
        "name": "echo",
        "versions": ["1"],
        "platform": "OpenVINO",
        "inputs": [{"name": "request", "datatype": "INVALID"}],
        "outputs": [{"name": "text", "datatype": "INVALID"}],
    }
    metadata = await client.get_model_metadata("repeat")
    assert [tensor.name for tensor in metadata.inputs] == ["tensors"]


async def test_metadata_of_a_model_that_cannot_serve(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no weights") as error:
        await client.get_model_metadata("broken")
    assert error.value.status() == "StatusCode.UNAVAILABLE"
