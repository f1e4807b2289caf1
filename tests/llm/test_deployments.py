"""Deployments: servers that a program starts and that others find, in DeepSpeed-MII's way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fakes
from support.fakes import echo_graph, write_graph

from server import DeploymentClient, client, serve
from server.errors import (
    GenerationError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
)
from server.llm.deployments import Response, registry

FLAGS = ("--no_auto_tune", "true")
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def deployment(state: Path) -> Iterator[DeploymentClient]:
    started = serve("tiny_chat", deployment_name="chat/one", flags=FLAGS)
    yield started
    started.terminate_server()
    with pytest.raises(ModelNotFoundError, match="running: none"):
        client("chat/one")


def test_prompts_are_continued_in_their_order(deployment: DeploymentClient) -> None:
    prompts = [QUESTION, "Once upon a time"]
    answers = deployment(prompts, do_sample=False, max_new_tokens=12)
    assert str(answers[0]).startswith("The capital of France is Paris.")
    assert (answers[0].finish_reason, answers[1].generated_length) == ("stop", 12)
    assert (answers[1].finish_reason, answers[1].prompt_length) == ("length", 4)


def test_another_process_finds_it(deployment: DeploymentClient, state: Path) -> None:
    program = (
        "from server import client\n"
        f"answer = client('chat/one').generate({QUESTION!r}, do_sample=False)\n"
        "print(answer[0])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "The capital of France is Paris.\n"


def test_a_stream_has_the_same_text(deployment: DeploymentClient) -> None:
    (whole,) = deployment.generate(QUESTION, do_sample=False)
    pieces: list[Response] = []
    assert deployment.generate(QUESTION, streaming_fn=pieces.extend, do_sample=False) == []
    assert len(pieces) > 3
    assert "".join(map(str, pieces)) == whole.generated_text
    assert [piece.finish_reason for piece in pieces] == ["none"] * (len(pieces) - 1) + ["stop"]


def test_max_length_counts_the_prompt(deployment: DeploymentClient) -> None:
    (answer,) = deployment("Once upon a time", max_length=10, ignore_eos=True)
    assert (answer.prompt_length, answer.generated_length) == (4, 6)
    (answer,) = deployment("Once upon a time", max_length=10, max_new_tokens=2, ignore_eos=True)
    assert answer.generated_length == 2
    with pytest.raises(InvalidRequestError, match="4 tokens; with max_length 4 there is no room"):
        deployment("Once upon a time", max_length=4)


def test_the_full_text_begins_with_the_prompt(deployment: DeploymentClient) -> None:
    (answer,) = deployment("Once upon", return_full_text=True, max_new_tokens=3, do_sample=False)
    assert answer.generated_text.startswith("Once upon")
    assert len(answer.generated_text) > len("Once upon")


@pytest.mark.parametrize(
    ("prompts", "fields", "problem"),
    [
        ([], {}, "prompt is empty"),
        ("Hi", {"top_p": 2.0}, "top_p"),
        ("Hi", {"max_new_tokens": 10**6}, "max_new_tokens"),
        ("Hi", {"max_length": 0}, "max_length"),
        ("Hi", {"do_sample": 1}, "do_sample"),
    ],
)
def test_what_the_server_refuses(
    deployment: DeploymentClient, prompts: str, fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        deployment(prompts, **fields)
    with pytest.raises(InvalidRequestError, match="single prompt"):
        deployment(["a", "b"], streaming_fn=print)


def test_a_name_is_used_once(deployment: DeploymentClient) -> None:
    with pytest.raises(ValueError, match="'chat/one' runs"):
        serve("tiny_chat", deployment_name="chat/one")
    with registry.reserved("two"), pytest.raises(ValueError, match="being started"):
        serve("tiny_chat", deployment_name="two")


def test_many_threads_share_a_client(deployment: DeploymentClient) -> None:
    found: list[str] = []

    def ask() -> None:
        found.append(str(deployment(QUESTION, do_sample=False)[0]))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["The capital of France is Paris."] * 8


def test_a_model_that_cannot_be_loaded_says_why(state: Path, tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").write_text("nonsense")
    with pytest.raises(ModelLoadError, match=r"(?s)did not start.*graph\.pbtxt"):
        serve(tmp_path, deployment_name="broken", flags=FLAGS)
    assert "broken" not in registry.running_names()


def test_a_server_that_was_killed_is_gone(state: Path) -> None:
    killed = serve("tiny_chat", deployment_name="killed", flags=FLAGS)
    assert "killed" in registry.running_names()
    found = registry.find("killed")
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    while found.is_running():
        time.sleep(0.01)
    with pytest.raises(GenerationError, match="'killed'"):
        killed("Hi", max_new_tokens=1)
    with pytest.raises(ModelNotFoundError, match="no deployment 'killed'"):
        client("killed")
    killed.terminate_server()
    killed.terminate_server()


def test_a_process_that_has_the_number_of_a_dead_one_is_not_it(state: Path) -> None:
    mine = registry.process_start_time(os.getpid())
    assert mine is not None
    registry.folder().mkdir(parents=True, exist_ok=True)
    registry.save(registry.Deployment("old", "http://127.0.0.1:9", os.getpid(), mine + "1"))
    assert registry.find("old") is None


TALKING = """
from support.fakes import EchoCalculator

class Talking(EchoCalculator):
    def open(self, cc):
        print("loading the weights")
        print("compiling", flush=True)
        super().open(cc)

    async def process(self, cc):
        print("said by a node " * 2000, flush=True)
        await super().process(cc)
"""


def test_nodes_may_print(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the server is ready, and later, when nobody waits for it any more."""
    monkeypatch.setenv("PYTHONPATH", str(Path(fakes.__file__).parents[1]))
    graph = echo_graph().replace("./fakes.py:EchoCalculator", "./own.py:Talking")
    write_graph(tmp_path, graph)
    (tmp_path / "own.py").write_text(TALKING)
    talking = serve(tmp_path, deployment_name="talking", flags=FLAGS)
    try:
        for _ in range(2):
            assert str(talking("hello there")[0]) == "hello there"
    finally:
        talking.terminate_server()
    log = registry.log_file("talking").read_text()
    assert log.index("loading the weights") < log.index("Serving on ")
    assert log.count("said by a node \n") == 2


def test_no_proxy_is_asked(deployment: DeploymentClient) -> None:
    """A program that starts with these variables, as urllib reads them only once."""
    program = "from server import client\nclient('chat/one')('Hi', max_new_tokens=1)"
    proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    environment = {**os.environ, **proxy, "no_proxy": "", "NO_PROXY": ""}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
