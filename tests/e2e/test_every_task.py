"""One server with a model of every task: as `export_model` lists them, asked all at once."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import server_command
from support.every_task import (
    EXPORTS,
    Asker,
    asking,
    wait_until_available,
    wait_until_unloaded,
    write_repository,
)
from support.otlp_receiver import SERVER, Receiver, receiving
from support.server_process import ServerProcess, server_process

from server.host.process_memory import resident_bytes

MAX_RESIDENT_BYTES = 8 * 10**9
OPERATIONS = {
    "chat": "chat",
    "embedder": "embeddings",
    "reranker": "rerank",
    "whisper": "transcription",
    "voice": "speech",
    "painter": "image_generation",
    "uppercase": "infer",
}
OUTPUT_TYPES = {"whisper": "text", "voice": "speech", "painter": "image"}
"""By the model; other requests do not say what they want."""


@pytest.fixture(scope="module")
def config(speech_models: Path, sd_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("tasks"), speech_models, sd_model)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def server(config: Path, receiver: Receiver) -> Iterator[ServerProcess]:
    # Only requests load models again.
    arguments = ("--config_path", config, "--file_system_poll_wait_seconds", "0")
    traces = ("--otlp_traces_endpoint", receiver.url)
    environment = {**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    with server_process(*arguments, *traces, "--port", "0", env=environment) as process:
        yield process


@pytest.fixture(scope="module")
def asker(server: ServerProcess, speech_models: Path) -> Asker:
    return Asker(server, speech_models)


def test_each_request_is_a_span_with_those_of_its_nodes(
    server: ServerProcess, asker: Asker, receiver: Receiver
) -> None:
    """The first test: nothing else has been asked yet."""
    wait_until_available(server)
    for ask in asker.requests.values():
        ask()
    receiver.wait_for(lambda spans: sum(s.kind == SERVER for s in spans) >= len(OPERATIONS))
    roots = {span.name: span for span in receiver.spans if span.kind == SERVER}
    assert set(roots) == {f"{operation} {model}" for model, operation in OPERATIONS.items()}
    models = {model["name"]: model for model in server.get("/v1/status")[1]["models"]}
    for model, operation in OPERATIONS.items():
        root = roots[f"{operation} {model}"]
        nodes = receiver.children_of(root)
        assert set(nodes) == {node["name"] for node in models[model]["graph"]["nodes"]}
        found = root.attributes
        assert (found["gen_ai.operation.name"], root.is_error) == (operation, False)
        assert found["gen_ai.provider.name"] == "openvino"
        assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == model
        assert found.get("gen_ai.output.type") == OUTPUT_TYPES.get(model)
        assert found["gen_ai.latency.e2e"] > 0
        if model != "uppercase":
            assert found["http.response.status_code"] == 200
            assert found["gen_ai.latency.time_in_queue"] >= 0
            assert found["gen_ai.latency.time_in_model_inference"] > 0
    assert roots["infer uppercase"].attributes["rpc.method"] == "ModelInfer"
    assert roots["image_generation painter"].attributes["gen_ai.request.seed"] == 1


def test_all_are_right_at_once(server: ServerProcess, asker: Asker) -> None:
    wait_until_available(server)
    with ThreadPoolExecutor(14) as pool:
        answers = [pool.submit(ask) for ask in (*asker.requests.values(),) * 2]
        for answer in answers:
            answer.result(timeout=60)
    assert resident_bytes(server.process.pid) < MAX_RESIDENT_BYTES


def test_the_check_finds_nothing(config: Path) -> None:
    checked = server_command.run("--check", "--config_path", config)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.endswith("7 model(s), 0 with problems\n")


@pytest.mark.parametrize("name", EXPORTS)
def test_one_is_loaded_again_while_the_others_answer(
    name: str, config: Path, server: ServerProcess, asker: Asker
) -> None:
    graph = config.parent / "models" / name / "graph.pbtxt"
    with ExitStack() as others:
        for other, ask in asker.requests.items():
            if other != name:
                others.enter_context(asking(ask))
        graph.write_text(graph.read_text() + "\n# changed\n")
        status, answer = server.post("/v1/config/reload", {})
        assert status == 201, answer
        wait_until_available(server)
    asker.requests[name]()


@pytest.mark.parametrize("is_named", [False, True])
def test_folders_without_a_graph(
    is_named: bool, config: Path, speech_models: Path, tmp_path: Path
) -> None:
    """Their files say what they are for, or `task` in the config does."""
    copy = shutil.copytree(config.parent, tmp_path / "tasks") / config.name
    listed = json.loads(copy.read_text())
    for entry in (each["config"] for each in listed["model_config_list"]):
        task, _ = EXPORTS.get(entry["name"], ("", ()))
        if task:
            (copy.parent / "models" / entry["name"] / "graph.pbtxt").unlink()
            entry["plugin_config"] = {"INFERENCE_PRECISION_HINT": "f32"}
            if is_named:
                entry["task"] = task.removesuffix("_ov")
    copy.write_text(json.dumps(listed))
    with server_process("--config_path", copy, "--port", "0") as server:
        wait_until_available(server)
        for ask in Asker(server, speech_models, voice="default").requests.values():
            ask()


def test_it_ends_while_all_are_asked(server: ServerProcess, asker: Asker) -> None:
    """The last test: it ends the server of the others."""
    wait_until_available(server)
    with ThreadPoolExecutor(7) as pool:
        answers = [pool.submit(ask) for ask in asker.requests.values()]
        assert server.stop() == 0, "".join(server.log)
    # A request that came too late was refused; the others have their right answers.
    failures = [failure for answer in answers if (failure := answer.exception())]
    assert not any(isinstance(failure, AssertionError) for failure in failures), failures
    assert "Traceback" not in "".join(server.log)


def test_idle_models_of_every_task_are_loaded_again(config: Path, speech_models: Path) -> None:
    arguments = ("--config_path", config, "--idle_unload_timeout_seconds", "3", "--port", "0")
    with server_process(*arguments) as server:
        asker = Asker(server, speech_models)
        wait_until_unloaded(server)
        with ThreadPoolExecutor(14) as pool:
            answers = [pool.submit(ask) for ask in (*asker.requests.values(),) * 2]
            for answer in answers:
                answer.result(timeout=60)
        loaded = resident_bytes(server.process.pid)
        wait_until_unloaded(server)
        # The processes of speech and images are gone as well.
        unloaded = resident_bytes(server.process.pid)
        print(f"resident: {loaded / 1e6:.0f} MB loaded, {unloaded / 1e6:.0f} MB unloaded")
        assert unloaded < loaded - 300 * 10**6
        wait_until_available(server)
