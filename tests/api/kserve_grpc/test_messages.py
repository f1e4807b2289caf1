"""The messages, and their bytes on the wire."""

import random
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError
from grpc_tools import protoc
from tritonclient.grpc import service_pb2

from server.api import kserve_grpc
from server.api.kserve_grpc.messages import POOL, message_class
from server.api.kserve_grpc.wire import bytes_field, check_contents, split_request
from server.errors import InvalidRequestError

FOLDER = Path(kserve_grpc.__file__).parent


def test_the_messages_are_those_of_the_client() -> None:
    """Every field has the number and the type that it has in NVIDIA's copy of the protocol."""
    for name, ours in POOL.FindFileByName("grpc_predict_v2.proto").message_types_by_name.items():
        theirs = service_pb2.DESCRIPTOR.message_types_by_name[name]
        for field in ours.fields:
            if name == "InferParameter" and field.number > 3:
                continue  # newer than some versions of the client
            found = theirs.fields_by_name[field.name]
            assert (field.number, field.type) == (found.number, found.type), field.full_name


def test_the_compiled_form_is_that_of_the_proto(tmp_path: Path) -> None:
    compiled = tmp_path / "compiled"
    name = "grpc_predict_v2.proto"
    assert protoc.main(["", f"-I{FOLDER}", f"--descriptor_set_out={compiled}", name]) == 0
    expected = FileDescriptorSet.FromString(compiled.read_bytes())
    assert FileDescriptorSet.FromString((FOLDER / "grpc_predict_v2.desc").read_bytes()) == expected


def test_a_request_is_split() -> None:
    request = message_class("ModelInferRequest")(
        model_name="m", raw_input_contents=[b"", b"x" * 300]
    )
    request.inputs.add(name="a", shape=[1, 300])
    request.parameters["p"].double_param = 0.5
    data = request.SerializeToString()
    parts = split_request(data)
    assert [bytes(raw) for raw in parts.raw_contents] == [b"", b"x" * 300]
    assert parts.raw_contents[1].obj is data
    del request.raw_input_contents[:]
    assert type(request).FromString(parts.message) == request


def test_unknown_fields_of_any_kind_are_skipped() -> None:
    varint, fixed_64, fixed_32 = b"\x98\x06\x96\x01", b"\x99\x06" + b"8" * 8, b"\x9d\x06" + b"4" * 4
    parts = split_request(varint + fixed_64 + fixed_32 + b"\x3a\x01x")
    assert parts.message == varint + fixed_64 + fixed_32
    message_class("ModelInferRequest").FromString(parts.message)


def test_fields_of_bytes() -> None:
    response = message_class("ModelInferResponse")
    for size in (0, 1, 127, 128, 16_384, 2**21):
        data = b"".join(bytes_field(6, [b"x" * size, b"yz"]))
        assert list(response.FromString(data).raw_output_contents) == [b"x" * size + b"yz"]


def test_too_many_fields() -> None:
    with pytest.raises(InvalidRequestError, match="more than 10000 fields"):
        split_request(b"\x0a\0" * 10_001)


def test_any_bytes_are_split_or_refused() -> None:
    """What is split is what protobuf finds, if it can parse the bytes."""
    randomness = random.Random(5)
    request_class = message_class("ModelInferRequest")
    request = request_class(model_name="model", id="id", raw_input_contents=[b"abc", b"defg"])
    request.inputs.add(name="a", datatype="FP32", shape=[1, 2])
    valid = request.SerializeToString()
    num_parsed = 0
    for _ in range(2000):
        data = bytearray(valid[: randomness.randrange(len(valid) + 1)])
        for _ in range(randomness.randrange(4)):
            data.insert(randomness.randrange(len(data) + 1), randomness.randrange(256))
        try:
            parts = split_request(bytes(data))
            expected = request_class.FromString(bytes(data))
        except (InvalidRequestError, DecodeError):
            continue
        num_parsed += 1
        assert [bytes(raw) for raw in parts.raw_contents] == list(expected.raw_input_contents)
        del expected.raw_input_contents[:]
        assert request_class.FromString(parts.message) == expected
    assert num_parsed > 50


@pytest.mark.parametrize(
    ("datatype", "contents", "is_allowed"),
    [
        ("INT32", {"int_contents": [1] * 2**23}, True),
        ("INT32", {"int_contents": [1] * (2**23 + 1)}, False),
        ("FP32", {"fp32_contents": [1] * 2**22}, True),
        ("BYTES", {"bytes_contents": [b"a"] * 250_000}, True),
        ("BYTES", {"bytes_contents": [b"a"] * 250_001}, False),
        ("BYTES", {"bytes_contents": [b"a" * 2**24]}, True),
    ],
    ids=lambda value: str(value)[:30],
)
def test_typed_contents_have_bounds(
    datatype: str, contents: dict[str, list[object]], is_allowed: bool
) -> None:
    tensor = {"name": "x", "datatype": datatype, "shape": [1], "contents": contents}
    message = message_class("ModelInferRequest")(inputs=[tensor]).SerializeToString()
    if is_allowed:
        check_contents(message)
    else:
        with pytest.raises(InvalidRequestError, match="raw_input_contents has no bound"):
            check_contents(message)
