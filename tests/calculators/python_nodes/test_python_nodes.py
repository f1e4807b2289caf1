"""Python nodes of OpenVINO Model Server behind KServe's REST endpoint."""

import asyncio
import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.infer_calls import infer_error, infer_ok, post_binary, tensor
from support.python_graphs import LOOP, python_graph, python_node, serving, write_graph
from support.serving import Server

from calculators.python_nodes import handler_threads
from server.errors import InvalidRequestError, ModelLoadError
from server.graph import Graph
from server.models.config import single_model_config
from server.models.loading.model_loading import check_model
from server.models.model_manager import ModelManager
from server.models.watched_files import WatchedFiles
from server.payloads import InferRequest, InferResponse
from server.tensors import Tensor

UPPERCASE = """
from pyovms import Tensor

class OvmsPythonModel:

    def execute(self, inputs: list):
        input_data = inputs[0]
        text = bytes(input_data).decode()
        output_data = text.upper().encode()
        return [Tensor("uppercase", output_data)]
"""
UPPERCASE_GRAPH = python_graph(
    "OVMS_PY_TENSOR:text",
    "OVMS_PY_TENSOR:uppercase",
    python_node("pythonNode", "INPUT:text", "OUTPUT:uppercase"),
)
COUNTER = """
import numpy as np
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        try:
            for number in range(int(np.array(inputs[0])[0])):
                yield [Tensor("number", np.array([number], np.int32))]
            yield [Tensor("end", b"")]
        finally:
            with open(LOG, "a") as log:
                log.write("closed;")
"""
COUNTER_GRAPH = python_graph(
    "OVMS_PY_TENSOR:limit",
    "OVMS_PY_TENSOR_1:number OVMS_PY_TENSOR_2:end",
    python_node("pythonNode", "INPUT:limit", "NUMBER:number END:end", more=LOOP),
)


def write_counter(root: Path) -> Path:
    log = root / "log.txt"
    write_graph(root / "counter", COUNTER_GRAPH, model=f"LOG = {str(log)!r}\n{COUNTER}")
    return log


async def packets_of(graph: Graph, request: InferRequest) -> list[InferResponse]:
    async with graph.start_run(request) as run:
        return [packet async for packet in run]


def number(name: str, value: int) -> Tensor:
    return Tensor(name, "INT32", (1,), struct.pack("<i", value))


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_the_quick_start_of_ovms(tmp_path: Path) -> None:
    write_graph(tmp_path / "python_model", UPPERCASE_GRAPH, model=UPPERCASE)
    async with serving(tmp_path, "python_model") as server:
        data = b"Make this text uppercase."
        # OVMS's clients send the bytes themselves, and their number as the shape.
        sizes = {"binary_data_size": len(data)}
        text = {"name": "text", "shape": [len(data)], "datatype": "BYTES", "parameters": sizes}
        head = {"inputs": [text], "parameters": {"binary_data_output": True}}
        status, headers, body = await post_binary(server, head, data, "python_model")
        length = int(headers["Inference-Header-Content-Length"])
        (output,) = json.loads(body[:length])["outputs"]
        assert (status, body[length:]) == (200, b"MAKE THIS TEXT UPPERCASE.")
        assert (output["name"], output["datatype"]) == ("uppercase", "UINT8")
        # Elements of JSON come with the 4 bytes of their length.
        answer = await infer_ok(
            server, {"inputs": [tensor("text", ["abc"], [1], "BYTES")]}, "python_model"
        )
        assert bytes(answer["outputs"][0]["data"]) == struct.pack("<I", 3) + b"ABC"
        async with server.http.get("/v2/models/python_model") as response:
            metadata = await response.json()
    assert metadata["inputs"] == [{"name": "text", "datatype": "INVALID", "shape": []}]
    assert metadata["outputs"] == [{"name": "uppercase", "datatype": "INVALID", "shape": []}]


async def test_a_generator_streams_its_sets(tmp_path: Path) -> None:
    log = write_counter(tmp_path)
    async with serving(tmp_path, "counter") as server:
        graph = server.manager.get("counter").graph
        request = InferRequest((number("limit", 3),), is_streamed=True)
        answers = await packets_of(graph, request)
        found = [(a.outputs[0].name, a.step) for a in answers]
        assert found == [("number", 0), ("number", 1), ("number", 2), ("end", 3)]
        values = [struct.unpack("<i", a.outputs[0].data)[0] for a in answers[:3]]
        assert values == [0, 1, 2]
        assert answers[3].outputs[0].data == b""
    assert log.read_text() == "closed;"


async def test_one_answer_has_the_first_of_each_output(tmp_path: Path) -> None:
    write_counter(tmp_path)
    async with serving(tmp_path, "counter") as server:
        # More sets than a stream holds: the node must get on to its last output.
        body = {"inputs": [tensor("limit", [50], [1], "INT32")]}
        answer = await infer_ok(server, body, "counter")
        assert [output["data"] for output in answer["outputs"]] == [[0], []]
        body["inputs"] = [tensor("limit", [0], [1], "INT32")]
        error = await infer_error(server, body, "counter")
        assert error == "the graph gave nothing for the outputs: number"
        # Outputs that are not wanted must not hold up the others.
        body["inputs"] = [tensor("limit", [50], [1], "INT32")]
        answer = await infer_ok(server, {**body, "outputs": [{"name": "end"}]}, "counter")
        assert [output["name"] for output in answer["outputs"]] == ["end"]
        graph = server.manager.get("counter").graph
        request = InferRequest((number("limit", 50),), ("end",), is_streamed=True)
        assert [packet.step for packet in await packets_of(graph, request)] == [50]
        # A wanted output is there long before the end.
        body = {**body, "inputs": [tensor("limit", [10**9], [1], "INT32")]}
        answer = await infer_ok(server, {**body, "outputs": [{"name": "number"}]}, "counter")
        assert [output["data"] for output in answer["outputs"]] == [[0]]


async def test_a_client_that_leaves_closes_the_generator(tmp_path: Path) -> None:
    log = write_counter(tmp_path)
    async with serving(tmp_path, "counter") as server:
        graph = server.manager.get("counter").graph
        request = InferRequest((number("limit", 10**9),), is_streamed=True)
        async with graph.start_run(request) as run:
            await anext(run)
        await until(lambda: log.exists() and log.read_text() == "closed;")


ORDER = """
import numpy as np
from pyovms import Tensor

class OvmsPythonModel:
    def initialize(self, kwargs: dict):
        self.arguments = kwargs

    def execute(self, inputs: list):
        names = ",".join(tensor.name for tensor in inputs)
        arguments = ",".join([*self.arguments["input_names"], *self.arguments["output_names"]])
        same = np.array(inputs[0], copy=False)
        return [
            Tensor("names", f"{names} {arguments} {self.arguments['node_name']}".encode()),
            Tensor("words", np.array(["a", "bcd"]), datatype="<U3"),
            Tensor("labelled", same.astype(np.int64), shape=[1, 2], datatype="MINE"),
        ]

    def finalize(self):
        import pathlib
        pathlib.Path(self.arguments["base_path"], "finalized.txt").write_text("yes")
"""
SECOND = """
import numpy as np
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        labelled, words = inputs
        assert labelled.datatype == "MINE" and labelled.shape == (1, 2), repr(labelled)
        assert np.array(labelled).dtype == np.int64 and labelled.size == 16
        assert list(np.array(words)) == ["a", "bcd"] and words.datatype == "<U3"
        return [Tensor("joined", "".join(np.array(words)).encode())]
"""


async def test_names_orders_and_labels(tmp_path: Path) -> None:
    graph = python_graph(
        "OVMS_PY_TENSOR_B:b OVMS_PY_TENSOR_A:a",
        "OVMS_PY_TENSOR1:names OVMS_PY_TENSOR2:joined OVMS_PY_TENSOR3:labelled",
        python_node("first", "Z:b C:a", "N:names W:words L:labelled", "first.py"),
        python_node("second", "A:labelled B:words", "OUT:joined", "second.py"),
    )
    write_graph(tmp_path / "two", graph, first=ORDER, second=SECOND)
    async with serving(tmp_path, "two") as server:
        floats = [tensor("b", [1, 2], [2]), tensor("a", [3, 4], [2])]
        head = {"inputs": floats, "outputs": [{"name": "names"}, {"name": "joined"}]}
        answer = await infer_ok(server, head, "two")
        names, joined = (bytes(output["data"]).decode() for output in answer["outputs"])
        # By the tags; the arguments of initialize are in the order of the file.
        assert names == "a,b b,a,names,words,labelled first"
        assert joined == "abcd"
        head["outputs"] = [{"name": "labelled", "parameters": {"binary_data": True}}]
        status, _, body = await post_binary(server, head, b"", "two")
        assert (status, body[-16:]) == (200, np.array([3, 4]).tobytes())
        assert b'"datatype":"MINE"' in body
        head["outputs"] = [{"name": "labelled"}]
        assert "JSON cannot hold" in await infer_error(server, head, "two")
        head["outputs"] = [{"name": "label"}]
        assert "no output 'label'; did you mean 'labelled'" in await infer_error(
            server, head, "two"
        )
        for inputs, text in (
            (floats[:1], "inputs that are missing: a"),
            ([*floats, floats[0]], "input 'b' is given twice"),
            ([*floats, tensor("c", [1], [1])], "the graph has no input 'c'"),
        ):
            assert text in await infer_error(server, {"inputs": inputs}, "two")
    assert (tmp_path / "two" / "finalized.txt").read_text() == "yes"


PARTIAL = """
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        yield []
        for tensor in inputs:
            yield [Tensor("name", tensor.name.encode())]
            yield []
"""


async def test_a_part_of_the_inputs_and_no_outputs(tmp_path: Path) -> None:
    node = python_node("n", "A:a B:b", "OUT:name")
    graph = python_graph("OVMS_PY_TENSOR:a OVMS_PY_TENSOR1:b", "OVMS_PY_TENSOR:name", node)
    write_graph(tmp_path / "partial", graph, model=PARTIAL)
    async with serving(tmp_path, "partial") as server:
        loaded = server.manager.get("partial").graph
        for names in (["b"], ["b", "a"]):
            tensors = tuple(number(name, 1) for name in names)
            answers = await packets_of(loaded, InferRequest(tensors, is_streamed=True))
            found = [(a.step, bytes(a.outputs[0].data).decode()) for a in answers]
            assert found == [(1 + 2 * i, name) for i, name in enumerate(sorted(names))]
        with pytest.raises(InvalidRequestError, match="inputs that are missing: a, b"):
            await packets_of(loaded, InferRequest((), is_streamed=True))


FAILING = """
import sys
from pyovms import Tensor

class Odd(list):
    pass

class OvmsPythonModel:
    def execute(self, inputs):
        what = bytes(inputs[0])[4:].decode()
        if what == "raise":
            raise ValueError("not today")
        if what == "exit":
            sys.exit(3)
        if what == "interrupt":
            raise KeyboardInterrupt
        if what == "stop":
            raise StopIteration
        if what == "yield":
            return iter([[Tensor("out", b"a")], 5])
        return {"none": None, "text": ["a"], "name": [Tensor("ou", b"")],
                "good": [Tensor("out", b"fine")], "empty": [],
                "label": [Tensor("out", b"abc", datatype="FP32")]}[what]
"""


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("raise", "node 'n': execute failed: ValueError: not today (model.py, line 12)"),
        ("exit", "node 'n': execute failed: RuntimeError: it raised SystemExit: 3"),
        ("interrupt", "it raised KeyboardInterrupt"),
        ("stop", "it raised StopIteration"),
        ("none", "it returned a NoneType; possible: a list of pyovms.Tensor, or a generator"),
        ("text", "its list holds a str; possible: pyovms.Tensor"),
        ("name", "it returned a tensor 'ou'; did you mean 'out'?"),
        ("empty", "the graph gave nothing for the outputs: out"),
        ("unknown", "KeyError: 'unknown'"),
        ("label", "output 'out' has data that its shape and datatype do not describe"),
    ],
)
async def test_a_failure_is_the_error_of_its_request(failing: Server, what: str, text: str) -> None:
    def body(word: str) -> Any:
        return {"inputs": [tensor("in", [word], [1], "BYTES")]}

    assert text in await infer_error(failing, body(what), "failing")
    answer = await infer_ok(failing, body("good"), "failing")
    assert bytes(answer["outputs"][0]["data"]) == b"fine"


@pytest.fixture
async def failing(tmp_path: Path) -> Any:
    node = python_node("n", "IN:in", "OUT:out")
    graph = python_graph("OVMS_PY_TENSOR:in", "OVMS_PY_TENSOR:out", node)
    write_graph(tmp_path / "failing", graph, model=FAILING)
    async with serving(tmp_path, "failing") as server:
        yield server


HELD = """
import pathlib
import time
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        while not pathlib.Path(__file__).with_name("go_on").exists():
            time.sleep(0.01)
        return [Tensor("uppercase", b"done")]
"""


ALL_TOGETHER = """
import threading
from pyovms import Tensor

class OvmsPythonModel:
    def initialize(self, kwargs):
        self.all_here = threading.Barrier(8, timeout=60)

    def execute(self, inputs):
        self.all_here.wait()
        return [Tensor("uppercase", b"done")]
"""


async def test_execute_runs_beside_the_event_loop(tmp_path: Path) -> None:
    write_graph(tmp_path / "all", UPPERCASE_GRAPH, model=ALL_TOGETHER)
    async with serving(tmp_path, "all") as server:
        body = {"inputs": [tensor("text", ["a"], [1], "BYTES")]}
        calls = [asyncio.create_task(infer_ok(server, body, "all")) for _ in range(7)]
        graph: Any = server.manager.get("all").graph
        await until(lambda: graph.num_running == 7)
        async with server.http.get("/v2/health/live") as response:
            assert response.status == 200
        assert not any(call.done() for call in calls)
        await asyncio.gather(infer_ok(server, body, "all"), *calls)


async def test_the_queue_of_a_node_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_threads, "MAX_THREADS", 1)
    monkeypatch.setattr(handler_threads, "MAX_WAITING", 2)
    write_graph(tmp_path / "held", UPPERCASE_GRAPH, model=HELD)
    async with serving(tmp_path, "held") as server:
        body = {"inputs": [tensor("text", ["a"], [1], "BYTES")]}
        calls = {asyncio.create_task(server.post("/v2/models/held/infer", body)) for _ in range(5)}
        await until(lambda: sum(call.done() for call in calls) == 2)
        (tmp_path / "held" / "go_on").touch()
        answers = await asyncio.gather(*calls)
    assert sorted(status for status, _ in answers) == [200, 200, 200, 503, 503]
    assert {"error": "2 requests wait for node 'pythonNode'"} in [answer for _, answer in answers]


WORD = """
from helper import WORD
from pyovms import Tensor

class OvmsPythonModel:
    def execute(self, inputs):
        return [Tensor("uppercase", WORD.encode())]
"""


async def word_of(server: Server, model: str) -> str:
    body = {"inputs": [tensor("text", ["a"], [1], "BYTES")]}
    answer = await infer_ok(server, body, model)
    return bytes(answer["outputs"][0]["data"]).decode()


async def test_files_of_one_name_and_reloads(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_graph(tmp_path / name, UPPERCASE_GRAPH, model=WORD, helper=f"WORD = {name!r}")
    async with serving(tmp_path, "one", "two") as server:
        assert [await word_of(server, name) for name in ("one", "two")] == ["one", "two"]
        (tmp_path / "two" / "helper.py").write_text("WORD = 'second'")
        assert await server.manager.reload(retry_failed=False)
        assert [await word_of(server, name) for name in ("one", "two")] == ["one", "second"]
        (tmp_path / "two" / "model.py").write_text(WORD.replace("WORD.encode()", "b'third'"))
        assert await server.manager.reload(retry_failed=False)
        assert await word_of(server, "two") == "third"


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("class Other: pass", "defines no class OvmsPythonModel"),
        ("class OvmsPythonModel: pass", "has no method execute(self, inputs)"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def (", "SyntaxError"),
        (
            "class OvmsPythonModel:\n def execute(self, x): pass\n"
            " def initialize(self, k): raise RuntimeError('no model')",
            "initialize failed: RuntimeError: no model (model.py, line 3)",
        ),
        (
            "class OvmsPythonModel:\n def execute(self, x): pass\n"
            " def initialize(self, k): exit(2)",
            "initialize failed: SystemExit: 2",
        ),
    ],
)
async def test_a_handler_that_cannot_be_loaded(tmp_path: Path, handler: str, text: str) -> None:
    write_graph(tmp_path / "bad", UPPERCASE_GRAPH, model=handler)
    async with serving(tmp_path, "bad") as server:
        assert text in status_reason(server.manager, "bad")


@pytest.mark.parametrize(
    ("handlers", "text"),
    [
        ({}, "model.py cannot be read"),
        ({"model": "def ("}, "model.py: invalid syntax (model.py, line 1)"),
    ],
)
def test_a_check_reads_the_handler(tmp_path: Path, handlers: dict[str, str], text: str) -> None:
    write_graph(tmp_path / "bad", UPPERCASE_GRAPH, **handlers)
    (model,) = single_model_config("bad", tmp_path / "bad").models
    with pytest.raises(ModelLoadError, match=re.escape(text)):
        check_model(model, WatchedFiles()).check_files()


async def test_a_missing_handler(tmp_path: Path) -> None:
    write_graph(tmp_path / "bad", UPPERCASE_GRAPH)
    async with serving(tmp_path, "bad") as server:
        reason = status_reason(server.manager, "bad")
        assert "bad/model.py cannot be read: No such file" in reason


def status_reason(manager: ModelManager, name: str) -> str:
    (version,) = manager.status()[name]["model_version_status"]
    return str(version["reason"])
