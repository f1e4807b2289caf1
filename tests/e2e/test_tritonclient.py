"""NVIDIA's client of the KServe protocol, on a classifier exported by optimum-intel."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from numpy.testing import assert_allclose
from support.server_process import ServerProcess, server_process
from support.tiny_bert import TEXTS
from tritonclient.utils import InferenceServerException

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="module")
def server(bert_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`bert` with two versions, and `tokenizer`, which takes texts."""
    folder = tmp_path_factory.mktemp("classic")
    for version in ("1", "2"):
        shutil.copytree(bert_model / "openvino", folder / "bert" / version)
    (folder / "tokenizer").mkdir()
    for suffix in ("xml", "bin"):
        name = f"openvino_tokenizer.{suffix}"
        shutil.copy(bert_model / "openvino" / name, folder / "tokenizer")
    entries: list[dict[str, Any]] = [
        {
            "name": "bert",
            "model_version_policy": {"all": {}},
            "nireq": 2,
            # Else a CPU that can computes in bfloat16, and transformers does not.
            "plugin_config": {"INFERENCE_PRECISION_HINT": "f32"},
        },
        {"name": "tokenizer", "target_device": "CPU"},
    ]
    config = {"model_config_list": [{"config": entry} for entry in entries]}
    (folder / "config.json").write_text(json.dumps(config))
    with server_process("--config_path", folder, "--port", "0") as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Any]:
    address = server.url.removeprefix("http://")
    with triton.InferenceServerClient(address, concurrency=4) as client:
        yield client


@pytest.fixture(scope="module")
def expected(bert_model: Path) -> dict[str, Any]:
    """What transformers made of TEXTS: inputs and logits."""
    with np.load(bert_model / "expected.npz") as arrays:
        return dict(arrays)


def tensors(arrays: dict[str, Any], *, binary: bool) -> list[Any]:
    inputs = []
    for name in INPUTS:
        tensor = triton.InferInput(name, arrays[name].shape, "INT64")
        tensor.set_data_from_numpy(arrays[name].astype(np.int64), binary_data=binary)
        inputs.append(tensor)
    return inputs


def test_server_and_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("bert")
    assert client.is_model_ready("bert", "2")
    assert not client.is_model_ready("bert", "3")
    assert not client.is_model_ready("birt")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("bert")
    assert metadata["versions"] == ["1", "2"]
    assert {tensor["name"] for tensor in metadata["inputs"]} == set(INPUTS)
    assert {tensor["datatype"] for tensor in metadata["inputs"]} == {"INT64"}
    assert metadata["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]


@pytest.mark.parametrize("version", ["", "1", "2"])
@pytest.mark.parametrize("is_binary_in", [True, False])
@pytest.mark.parametrize("is_binary_out", [True, False])
def test_the_same_logits_as_transformers(
    client: Any,
    expected: dict[str, Any],
    version: str,
    is_binary_in: bool,
    is_binary_out: bool,
) -> None:
    result = client.infer(
        "bert",
        tensors(expected, binary=is_binary_in),
        model_version=version,
        request_id="a request",
        outputs=[triton.InferRequestedOutput("logits", binary_data=is_binary_out)],
    )
    assert_allclose(result.as_numpy("logits"), expected["logits"], rtol=1e-4, atol=1e-4)
    answer = result.get_response()
    assert (answer["id"], answer["model_version"]) == ("a request", version or "2")


def test_many_at_once(client: Any, expected: dict[str, Any]) -> None:
    inputs = tensors(expected, binary=True)
    waiting = [client.async_infer("bert", inputs) for _ in range(20)]
    for each in waiting:
        found = each.get_result().as_numpy("logits")
        assert_allclose(found, expected["logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("is_binary", [True, False])
def test_texts_as_tensors(client: Any, expected: dict[str, Any], is_binary: bool) -> None:
    name = client.get_model_metadata("tokenizer")["inputs"][0]["name"]
    texts = triton.InferInput(name, [len(TEXTS)], "BYTES")
    texts.set_data_from_numpy(np.array(TEXTS, dtype=object), binary_data=is_binary)
    result = client.infer("tokenizer", [texts])
    for output in ("input_ids", "attention_mask"):
        assert result.as_numpy(output).tolist() == expected[output].tolist()


def test_errors_are_read(client: Any, expected: dict[str, Any]) -> None:
    with pytest.raises(InferenceServerException, match="inputs that are missing: ") as error:
        client.infer("bert", tensors(expected, binary=True)[:1])
    assert error.value.status() == "400"
    with pytest.raises(InferenceServerException, match="there is no model 'birt'; did you mean"):
        client.infer("birt", tensors(expected, binary=True))
    with pytest.raises(InferenceServerException, match="Content-Encoding 'gzip' is not supported"):
        client.infer("bert", tensors(expected, binary=True), request_compression_algorithm="gzip")
    with pytest.raises(InferenceServerException, match="'sequence_id' is unknown"):
        client.infer("bert", tensors(expected, binary=True), sequence_id=7)


def test_the_arguments_of_kserves_runtime(bert_model: Path) -> None:
    """github.com/kserve/kserve, config/runtimes/kserve-openvino.yaml; with free ports."""
    folder = bert_model / "openvino"
    flags = ["--model_name=classifier", f"--model_path={folder}"]
    flags += ["--port=0", "--rest_port=0", "--file_system_poll_wait_seconds=0"]
    with (
        server_process(*flags) as server,
        triton_grpc.InferenceServerClient(server.grpc_address) as client,
    ):
        assert client.is_server_ready()
        assert client.is_model_ready("classifier")
        status, _ = server.get("/v2/models/classifier/ready")
        assert status == 200


@pytest.fixture
def grpc_client(server: ServerProcess) -> Iterator[Any]:
    with triton_grpc.InferenceServerClient(server.grpc_address) as client:
        yield client


def grpc_tensors(arrays: dict[str, Any]) -> list[Any]:
    inputs = []
    for name in INPUTS:
        tensor = triton_grpc.InferInput(name, arrays[name].shape, "INT64")
        tensor.set_data_from_numpy(arrays[name].astype(np.int64))
        inputs.append(tensor)
    return inputs


def test_the_same_logits_over_grpc(grpc_client: Any, expected: dict[str, Any]) -> None:
    metadata = grpc_client.get_model_metadata("bert")
    assert {tensor.name for tensor in metadata.inputs} == set(INPUTS)
    result = grpc_client.infer("bert", grpc_tensors(expected), model_version="1")
    assert_allclose(result.as_numpy("logits"), expected["logits"], rtol=1e-4, atol=1e-4)


def test_a_stream_over_grpc(grpc_client: Any, expected: dict[str, Any]) -> None:
    """NVIDIA's client reads the stream in a thread of its own."""
    answers: list[Any] = []
    grpc_client.start_stream(lambda result, error: answers.append(error or result))
    for _ in range(5):
        grpc_client.async_stream_infer("bert", grpc_tensors(expected))
    grpc_client.stop_stream()
    assert len(answers) == 5
    for each in answers:
        assert_allclose(each.as_numpy("logits"), expected["logits"], rtol=1e-4, atol=1e-4)


def test_texts_over_grpc(grpc_client: Any, expected: dict[str, Any]) -> None:
    name = grpc_client.get_model_metadata("tokenizer").inputs[0].name
    texts = triton_grpc.InferInput(name, [len(TEXTS)], "BYTES")
    texts.set_data_from_numpy(np.array(TEXTS, dtype=object))
    result = grpc_client.infer("tokenizer", [texts])
    assert result.as_numpy("input_ids").tolist() == expected["input_ids"].tolist()
