"""Every block of the pages, every file of configs/ work as they stand there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import PAGES, ROOT, Block, blocks
from support.server_process import server_process
from support.snippets import PageRun, Servers, make_project


@pytest.fixture(scope="module")
def models(chat_model: Path, bert_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the project's after the quick start, with models/classifier as well."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder, {"tiny_chat": chat_model, "classifier/1": bert_model / "openvino"})
    one_node = folder / "configs" / "graph_model_server.pbtxt"
    shutil.copy(one_node, folder / "models" / "tiny_chat")
    return folder


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """The servers that pages share."""
    running = Servers()
    yield running
    running.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_work(
    page: Path,
    servers: Servers,
    chat_model: Path,
    bert_model: Path,
    rankers: Path,
    tiny_encoders: Path,
    sd_model: Path,
    speech_models: Path,
    tmp_path: Path,
) -> None:
    models = {
        "tiny_chat": chat_model,
        "classifier/1": bert_model / "openvino",
        "reranker": rankers / "bert" / "openvino",
        "embedder": tiny_encoders / "bert" / "openvino",
        "painter": sd_model,
        "voice": speech_models / "speecht5",
        "whisper": speech_models / "whisper",
    }
    make_project(tmp_path, models)
    run = PageRun(tmp_path, servers)
    try:
        for block in blocks(page):
            run.run(block)
    finally:
        run.close()


def block(language: str, text: str, **info: str) -> Block:
    return Block(ROOT / "README.md", 1, language, text, info)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (block("bash", "false\ntrue"), "exit status 1"),
        (block("bash", "true", fails=""), "exit status 0"),
        (block("python", "print(1 / 0 == 'never')"), "division by zero"),
        (block("text", "not ... printed"), "instead of"),
        (block("json", "{"), "Expecting"),
        (block("fortran", "PRINT"), "nothing runs 'fortran'"),
        (block("bash", "cat missing.txt"), "No such file"),
    ],
)
def test_a_block_that_does_not_work_is_found(wrong: Block, error: str, tmp_path: Path) -> None:
    run = PageRun(tmp_path, Servers())
    with pytest.raises((AssertionError, ValueError, ArithmeticError), match=error):
        run.run(wrong)


def test_blocks_see_the_files_and_the_output_of_those_before(tmp_path: Path) -> None:
    run = PageRun(tmp_path, Servers())
    run.run(block("json", '{"a": 1}', file="x/a.json"))
    run.run(block("bash", "cat x/a.json && echo && echo done"))
    run.run(block("text", '{"a"...}\ndone'))


CONFIGURATIONS = ["classic_model.json", "config.json", "config.yaml", "several_models.json"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_example_configurations_load(models: Path, name: str) -> None:
    with server_process("--config_path", models / "configs" / name) as server:
        status, states = server.get("/v1/config")
        assert status == 200
        assert states
        for model, found in states.items():
            assert found["model_version_status"][0]["state"] == "AVAILABLE", model


@pytest.mark.parametrize("name", ["graph.pbtxt", "graph_model_server.pbtxt"])
def test_example_graphs_serve(models: Path, name: str, tmp_path: Path) -> None:
    folder = models / "models" / "tiny_chat"
    shutil.copy(ROOT / "configs" / name, folder / "graph.pbtxt")
    arguments = ["--model_name", "example", "--model_path", folder]
    with server_process(*arguments) as server:
        answer = server.openai().chat.completions.create(
            model="example",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
        )
    assert "Paris" in answer.choices[0].message.content


def test_every_example_is_in_a_test() -> None:
    files = {path.name for path in (ROOT / "configs").iterdir()} - {"README.md"}
    assert files == {*CONFIGURATIONS, "graph.pbtxt", "graph_model_server.pbtxt"}
