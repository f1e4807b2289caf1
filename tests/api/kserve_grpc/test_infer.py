"""ModelInfer: NVIDIA's client, and messages that it does not send."""

from typing import Any

import grpc
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.openvino_models import DATATYPES
from tritonclient.grpc import InferInput, InferRequestedOutput, service_pb2, service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

# The models are loaded once, for all tests of this folder.
pytestmark = pytest.mark.asyncio(loop_scope="package")

METHOD = "/inference.GRPCInferenceService/ModelInfer"


def input_of(name: str, values: Any, datatype: str = "FP32") -> InferInput:
    array = np.array(values, triton_to_np_dtype(datatype))
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def add_inputs() -> list[InferInput]:
    return [input_of("x", [[1, 2, 3.5]]), input_of("y", [[10, 20, 30]])]


async def test_values(client: InferenceServerClient) -> None:
    result = await client.infer("org/add", add_inputs(), request_id="sieben")
    assert_array_equal(result.as_numpy("sum"), [[11, 22, 33.5]])
    assert_array_equal(result.as_numpy("product"), [[10, 40, 105]])
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("sieben", "org/add", "3")


async def test_versions_and_outputs(client: InferenceServerClient) -> None:
    result = await client.infer(
        "org/add",
        add_inputs(),
        model_version="1",
        outputs=[InferRequestedOutput("product")],
    )
    response = result.get_response()
    assert response.model_version == "1"
    assert [output.name for output in response.outputs] == ["product"]
    assert len(response.raw_output_contents) == 1


VALUES: dict[str, list[Any]] = {
    **{name: [3, 7] for name in DATATYPES},
    "BOOL": [True, False],
    "INT8": [-128, 127],
    "UINT32": [0, 2**32 - 1],
    "FP16": [0.5, 2],
    "FP32": [1.5, float("inf")],
    "BF16": [1, 0.5],
    "BYTES": [b"", "Füchse\0!".encode()],
}


async def test_every_datatype(client: InferenceServerClient) -> None:
    inputs = [input_of(name.lower(), [VALUES[name]], name) for name in DATATYPES]
    result = await client.infer("identity", inputs)
    for name in DATATYPES:
        output = result.get_output(f"{name.lower()}_out")
        assert (output.datatype, list(output.shape)) == (name, [1, 1, 2])
        assert result.as_numpy(output.name).tolist() == [[VALUES[name]]]


CONTENTS = {
    "bool_contents": ("BOOL",),
    "int_contents": ("INT8", "INT16", "INT32"),
    "int64_contents": ("INT64",),
    "uint_contents": ("UINT8", "UINT16", "UINT32"),
    "uint64_contents": ("UINT64",),
    "fp32_contents": ("FP32",),
    "fp64_contents": ("FP64",),
    "bytes_contents": ("BYTES",),
}


def request_of(model: str, **contents: dict[str, list[Any]]) -> service_pb2.ModelInferRequest:
    """A request with typed contents: for each datatype the field and its values."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for datatype, fields in contents.items():
        tensor = request.inputs.add(name=datatype.lower(), datatype=datatype, shape=[1, 2])
        for field, values in fields.items():
            getattr(tensor.contents, field).extend(values)
    return request


async def call(address: str, request: service_pb2.ModelInferRequest) -> Any:
    async with grpc.aio.insecure_channel(address) as channel:
        return await service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)


async def error_of(address: str, request: service_pb2.ModelInferRequest) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(address, request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return str(error.value.details())


async def test_typed_contents(address: str) -> None:
    fields = {name: field for field, names in CONTENTS.items() for name in names}
    contents = {name: {field: VALUES[name]} for name, field in fields.items()}
    response = await call(address, request_of("repeat", **contents))
    assert [output.datatype for output in response.outputs] == list(contents)
    found = dict(zip(contents, response.raw_output_contents, strict=True))
    assert found.pop("BYTES") == b"\0\0\0\0\x09\0\0\0" + VALUES["BYTES"][1]
    for name, data in found.items():
        assert data == np.array(VALUES[name], triton_to_np_dtype(name)).tobytes(), name


@pytest.mark.parametrize(
    ("datatype", "fields", "message"),
    [
        ("FP32", {"fp64_contents": [1, 2]}, "has fp64_contents; 'FP32' goes into fp32_contents"),
        ("FP16", {"fp32_contents": [1, 2]}, "'FP16' goes into raw_input_contents"),
        ("FP7", {"fp32_contents": [1, 2]}, "'FP7' goes into raw_input_contents"),
        ("FP32", {"fp32_contents": [1]}, "shape [1, 2] of FP32 takes 8 bytes, found 4"),
        ("INT8", {"int_contents": [1, 128]}, "the number 128, which INT8 cannot hold"),
        ("UINT16", {"uint_contents": [1, 70000]}, "the number 70000, which UINT16 cannot hold"),
        ("BYTES", {"bytes_contents": [b"x"]}, "shape [1, 2] has 2 elements, the data 1"),
        ("BF16", {}, "shape [1, 2] of BF16 takes 4 bytes, found 0"),
    ],
)
async def test_wrong_contents(
    address: str, datatype: str, fields: dict[str, Any], message: str
) -> None:
    found = await error_of(address, request_of("identity", **{datatype: fields}))
    assert found.startswith(("inputs[0]", "input 'bytes'"))
    assert message in found


async def test_typed_contents_have_a_limit(address: str) -> None:
    async with grpc.aio.insecure_channel(
        address, [("grpc.max_send_message_length", -1)]
    ) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="any number in raw_input_contents"):
            await channel.unary_unary(METHOD)(b"\x0a\x80\x80\x80\x20" + b"m" * 2**26)


async def test_wrong_raw_contents(address: str) -> None:
    request = request_of("identity", FP32={})
    request.raw_input_contents.extend([b"1234", b"5678"])
    assert "has 2 items; possible: one for each of the 1 inputs" in await error_of(address, request)
    del request.raw_input_contents[1]
    assert "takes 8 bytes, found 4" in await error_of(address, request)
    request.inputs[0].contents.fp32_contents.append(1)
    assert "has contents, but raw_input_contents has its" in await error_of(address, request)


async def test_parameters_reach_the_graph(address: str) -> None:
    request = request_of("repeat", FP32={"fp32_contents": [1, 2]})
    request.parameters["fail_at"].int64_param = 0
    assert await error_of(address, request) == "no answer 0"
    request.parameters["fail_at"].ClearField("int64_param")
    assert "'fail_at' has no value" in await error_of(address, request)


async def test_unknown_parameters_of_tensors(address: str) -> None:
    request = request_of("repeat", FP32={"fp32_contents": [1, 2]})
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    assert "shared memory is not supported" in await error_of(address, request)
    request.inputs[0].parameters.clear()
    request.outputs.add(name="a").parameters["classification"].int64_param = 3
    assert "outputs[0] has the parameter 'classification'" in await error_of(address, request)
    request.outputs[0].parameters.clear()
    # Others are ignored.
    request.outputs[0].parameters["classes"].int64_param = 3
    request.inputs[0].parameters["note"].string_param = "x"
    request.outputs.add(name="a")
    assert "outputs[1] is there twice: 'a'" in await error_of(address, request)


@pytest.mark.parametrize(
    ("model", "version", "code", "message"),
    [
        ("org/ad", "", "NOT_FOUND", "there is no model 'org/ad'; did you mean 'org/add'?"),
        ("", "", "NOT_FOUND", "there is no model ''"),
        ("org/add", "2", "NOT_FOUND", "model 'org/add' has no version '2'; versions: 1, 3"),
        ("broken", "", "UNAVAILABLE", "no weights"),
        # As in Model Server, for a graph that takes no tensors.
        ("echo", "", "FAILED_PRECONDITION", "does not serve this endpoint"),
        ("identity", "", "INVALID_ARGUMENT", "the model has no input 'x'; possible: "),
    ],
)
async def test_errors(
    client: InferenceServerClient, model: str, version: str, code: str, message: str
) -> None:
    with pytest.raises(InferenceServerException) as error:
        await client.infer(model, add_inputs(), model_version=version)
    assert error.value.status() == f"StatusCode.{code}"
    assert message in error.value.message()


async def test_a_long_message_is_cut(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="has no version") as error:
        await client.infer("org/add", add_inputs(), model_version="ü" * 5000)
    assert error.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize(
    "data", [b"\xff", b"\x0a\x05ab", b"\x0b", b"\x3a" + b"\xff" * 11, b"\x0a\x01\xff"]
)
async def test_what_is_no_message(address: str, data: bytes) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="is no ModelInferRequest") as error:
            await channel.unary_unary(METHOD)(data)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
