"""gRPC through the front: KServe's calls, with NVIDIA's client."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.openvino_models import half_plus_three_model, write_model
from support.replicas.replicated import Replicated, replicated
from tritonclient.utils import InferenceServerException

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]

Client = triton.InferenceServerClient
KEY = {"authorization": "Bearer secret-alice"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grpc")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Replicated]:
    write_model(folder / "half" / "1", half_plus_three_model())
    entry = {"name": "half", "base_path": str(folder / "half")}
    config = folder / "config.json"
    config.write_text(json.dumps({"model_config_list": [{"config": entry}]}))
    keys = folder / "keys.json"
    keys.touch(0o600)
    keys.write_text(json.dumps([{"name": "alice", "key": "secret-alice"}]))
    flags = ("--config_path", config, "--port", "0", "--api_key_file", keys)
    with replicated(*flags, env={**os.environ, "TMPDIR": str(folder)}) as running:
        yield running


@pytest.fixture
def client(server: Replicated) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc_address) as client:
        yield client


def infer(client: Client, model: str = "half", **metadata: str) -> list[float]:
    tensor = triton.InferInput("x", [2], "FP32")
    tensor.set_data_from_numpy(np.array([2, 4], np.float32))
    answer = client.infer(model, [tensor], headers={**KEY, **metadata}, client_timeout=30)
    found: list[float] = answer.as_numpy("y").tolist()
    return found


def num_calls(server: Replicated, number: int) -> int:
    return server.logged(f"[replica {number}]", "GRPC ModelInfer OK", "key=alice")


def test_calls_are_divided(server: Replicated, client: Client) -> None:
    assert client.is_server_ready()
    assert client.get_server_metadata().name
    assert [infer(client) for _ in range(6)] == [[4, 5]] * 6
    server.until(lambda: (num_calls(server, 0), num_calls(server, 1)) == (3, 3), "not divided")


def test_errors_are_those_of_a_replica(server: Replicated, client: Client) -> None:
    with pytest.raises(InferenceServerException, match="'nobody'") as missing:
        infer(client, "nobody")
    assert missing.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match="the API key is wrong") as wrong:
        infer(client, authorization="Bearer secret-mallory")
    assert wrong.value.status() == "StatusCode.UNAUTHENTICATED"


AGAIN = "it is started again in"


def test_a_killed_replica_is_replaced_by_the_other(server: Replicated, client: Client) -> None:
    for number in (0, 1):
        server.until_all_serve()
        wanted = server.logged(AGAIN) + 1
        os.kill(server.children()[number], signal.SIGKILL)
        # A call that it still took would fail: the front cannot know whether it was carried out.
        server.until(lambda wanted=wanted: server.logged(AGAIN) == wanted, "its end is not noticed")
        assert [infer(client) for _ in range(10)] == [[4, 5]] * 10


def test_only_the_front_may_call_a_replica(server: Replicated, folder: Path) -> None:
    (sockets,) = folder.glob("replicas-*")
    with (
        triton.InferenceServerClient(f"unix:{sockets / '0.grpc'}") as client,
        pytest.raises(InferenceServerException, match="only its front may ask"),
    ):
        infer(client, **{"x-front-secret": "guessed"})
