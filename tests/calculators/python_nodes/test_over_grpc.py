"""Python nodes behind KServe over gRPC, with the calls of OVMS's demo clients."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.grpc_serving import running_grpc
from support.python_graphs import LOOP, python_graph, python_node, serving, write_graph
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import serialize_byte_tensor

# As OVMS's demo of text generation: words now and then, their number, and the end.
WRITER = """
import numpy as np
from pyovms import Tensor
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

class OvmsPythonModel:
    def execute(self, inputs):
        prompts = [text.decode() for text in deserialize_bytes_tensor(bytes(inputs[0]))]
        assert inputs[0].shape == (len(prompts),)
        for number in range(3):
            words = np.array([f"{prompt}{number}" for prompt in prompts], dtype=np.object_)
            yield [Tensor("completion", serialize_byte_tensor(words).item())]
        yield [Tensor("token_count", np.array([3], dtype=np.int32))]
        yield [Tensor("end_signal", "".encode()), Tensor("completion", b"bye")]
"""
WRITER_GRAPH = python_graph(
    "OVMS_PY_TENSOR:pre_prompt",
    "OVMS_PY_TENSOR_1:completion OVMS_PY_TENSOR_2:end_signal OVMS_PY_TENSOR_3:token_count",
    python_node(
        "pythonNode",
        "INPUT:pre_prompt",
        "OUTPUT:completion END_SIGNAL:end_signal TOKEN_COUNT:token_count",
        more=LOOP,
    ),
)
# As OVMS's demo of Stable Diffusion: a thread of the handler's own makes the images.
PAINTER = """
import io
import threading
from queue import Queue

from PIL import Image
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        size = len(bytes(inputs[0]).decode())
        images = Queue()

        def paint():
            for step in range(3):
                file = io.BytesIO()
                Image.new("RGB", (size, 8), (step, 0, 0)).save(file, format="PNG")
                images.put((file.getvalue(), step == 2))

        threading.Thread(target=paint).start()
        finished = False
        while not finished:
            image, finished = images.get()
            yield [Tensor("image", image)]
        yield [Tensor("end_signal", "".encode())]
"""
PAINTER_GRAPH = python_graph(
    "OVMS_PY_TENSOR:text",
    "OVMS_PY_TENSOR_A:image OVMS_PY_TENSOR_B:end_signal",
    python_node("pythonNode", "INPUT:text", "OUTPUT:image END_SIGNAL:end_signal", more=LOOP),
)
LENGTHS = """
import numpy as np
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        image, text = inputs
        assert image.datatype == "BYTES" and text.datatype == "<U5"
        words = np.frombuffer(text.data, text.datatype)
        found = [f"{len(bytes(image))}", *words, str(image.shape)]
        return [Tensor("OUT", " ".join(found).encode())]
"""
LENGTHS_GRAPH = python_graph(
    "OVMS_PY_TENSOR_IMAGE:image OVMS_PY_TENSOR_TEXT:text",
    "OVMS_PY_TENSOR:OUT",
    python_node("node", "A:image B:text", "OUT:OUT"),
)


def raw(name: str, datatype: str, shape: list[int], data: bytes) -> InferInput:
    """As OVMS's clients send data of their own form."""
    tensor = InferInput(name, shape, datatype)
    tensor._raw_content = data
    return tensor


async def test_raw_data_and_datatypes_of_the_client(tmp_path: Path) -> None:
    write_graph(tmp_path / "lengths", LENGTHS_GRAPH, model=LENGTHS)
    async with (
        serving(tmp_path, "lengths") as server,
        running_grpc(server.manager) as address,
        InferenceServerClient(address) as client,
    ):
        words = np.array(["cat", "horse"])
        inputs = [
            raw("image", "BYTES", [7], b"\xff\xd8 data"),
            raw("text", words.dtype.str, [2], words.tobytes()),
        ]
        answer = await client.infer("lengths", inputs)
        metadata = await client.get_model_metadata("lengths")
    assert answer.as_numpy("OUT").tobytes() == b"7 cat horse (7,)"
    assert [(each.name, each.datatype) for each in metadata.inputs] == [
        ("image", "INVALID"),
        ("text", "INVALID"),
    ]


async def test_a_generator_answers_in_a_stream(tmp_path: Path) -> None:
    write_graph(tmp_path / "writer", WRITER_GRAPH, model=WRITER)
    prompts = np.array(["a", "b"], dtype=np.bytes_)
    prompt = raw("pre_prompt", "BYTES", [2], serialize_byte_tensor(prompts).item())

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for timestamp in (100, 200):
            parameters = {"OVMS_MP_TIMESTAMP": timestamp}
            yield {"model_name": "writer", "inputs": [prompt], "parameters": parameters}

    async with (
        serving(tmp_path, "writer") as server,
        running_grpc(server.manager) as address,
        InferenceServerClient(address) as client,
    ):
        found = []
        async for result, error in client.stream_infer(requests()):
            assert error is None
            response = result.get_response()
            (output,), (data,) = response.outputs, response.raw_output_contents
            time = response.parameters["OVMS_MP_TIMESTAMP"].int64_param
            found.append((time, output.name, data))
        unary = await client.infer("writer", [prompt])
    for start in (100, 200):
        answers = [answer for answer in found if start <= answer[0] < start + 100]
        assert answers[:4] == [
            (start, "completion", b"\2\0\0\0a0\2\0\0\0b0"),
            (start + 1, "completion", b"\2\0\0\0a1\2\0\0\0b1"),
            (start + 2, "completion", b"\2\0\0\0a2\2\0\0\0b2"),
            (start + 3, "token_count", b"\3\0\0\0"),
        ]
        assert sorted(answers[4:]) == [
            (start + 4, "completion", b"bye"),
            (start + 4, "end_signal", b""),
        ]
    assert unary.get_response().raw_output_contents[0] == b"\2\0\0\0a0\2\0\0\0b0"


async def test_images_of_a_thread_in_a_stream(tmp_path: Path) -> None:
    write_graph(tmp_path / "painter", PAINTER_GRAPH, model=PAINTER)

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "painter", "inputs": [raw("text", "BYTES", [3], b"cat")]}

    async with (
        serving(tmp_path, "painter") as server,
        running_grpc(server.manager) as address,
        InferenceServerClient(address) as client,
    ):
        found = []
        async for result, error in client.stream_infer(requests()):
            assert error is None
            response = result.get_response()
            found.append((response.outputs[0].name, response.raw_output_contents[0]))
    *images, end = found
    assert end == ("end_signal", b"")
    assert [name for name, _ in images] == ["image"] * 3
    for step, (_, data) in enumerate(images):
        image = Image.open(io.BytesIO(data))
        assert (image.size, image.getpixel((0, 0))) == ((3, 8), (step, 0, 0))
