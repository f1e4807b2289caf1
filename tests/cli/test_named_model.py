"""MODEL on the command line: a folder, a name in the folder of models, or a Hugging Face id."""

import re
from pathlib import Path

import pytest
from support.command_lines import parse, problem_of
from support.fakes import echo_graph, write_graph, write_repository
from support.server_command import chat, ready_line, run, started, url_of
from support.terminal import terminal

from server.models.bundled import find_bundled_model
from server.models.tasks import TEXT_GENERATION


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OVMS_MODEL_REPOSITORY_PATH", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["some/where/m"], "m"),
        (["some/where/m/"], "m"),
        (["some/where/m", "--model_repository_path=some"], "where/m"),
        (["where/m", "--model_repository_path=some"], "where/m"),
        (["some/where/m", "--model_name=other"], "other"),
    ],
)
def test_the_name_of_a_folder(flags: list[str], name: str, tmp_path: Path) -> None:
    write_graph(tmp_path / "some/where/m", echo_graph())
    (model,) = parse(*flags).models.load_config().models
    assert (model.name, model.base_path.resolve()) == (name, tmp_path / "some/where/m")


def test_a_model_of_the_folder_models(tmp_path: Path) -> None:
    write_graph(tmp_path / "models/org/m", echo_graph())
    (model,) = parse("org/m").models.load_config().models
    assert (model.name, model.base_path) == ("org/m", tmp_path / "models/org/m")


def test_the_bundled_model(tmp_path: Path) -> None:
    (model,) = parse("tiny_chat").models.load_config().models
    assert (model.name, model.base_path) == ("tiny_chat", find_bundled_model("tiny_chat"))
    write_graph(tmp_path / "models/tiny_chat", echo_graph())
    (own,) = parse("tiny_chat").models.load_config().models
    assert own.base_path == tmp_path / "models/tiny_chat"


def test_a_configuration(tmp_path: Path) -> None:
    config = write_repository(tmp_path / "all", {"a": echo_graph(), "b": echo_graph()})
    for named in (config, tmp_path / "all"):
        assert len(parse(named).models.load_config().models) == 2


@pytest.mark.parametrize("source", ["org/m", "hf"])
def test_a_model_to_export(source: str, hf_model: Path, tmp_path: Path) -> None:
    (tmp_path / "hf").symlink_to(hf_model)
    line = parse(source, "--weight-format", "int4")
    assert line.models.source_model == source
    name = source if source == "org/m" else hf_model.name
    assert line.models.served_path == Path("models") / name
    assert "--weight-format=int4" in line.export.command(line.models, TEXT_GENERATION)
    (note,) = line.notes
    assert f"exported to models/{name} first" in note


def test_a_hugging_face_model_is_checked_not_exported(hf_model: Path) -> None:
    line = parse("--check", hf_model)
    assert line.models.source_model is None
    assert line.models.model_path == hf_model


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["nosuch"], "nosuch: no such folder; a Hugging Face id has the form org/name"),
        (["--check", "org/m"], "org/m: no such folder"),
        (["m", "--model_path=x"], "MODEL (m) cannot be used together with --model_path"),
        (["m", "--source_model=x"], "MODEL (m) cannot be used together with --source_model"),
        (["empty"], "empty: there is no model in it"),
        (["m.gguf"], "m.gguf: is a file; MODEL is the folder of a model, or a config.json"),
        (["x" * 5000], "File name too long"),
        (["~nobody-of-this-name/m"], "home directory"),
    ],
)
def test_what_is_no_model(
    flags: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "m.gguf").touch()
    assert problem in problem_of(capsys, *flags)


def test_a_folder_is_served(tmp_path: Path) -> None:
    write_graph(tmp_path / "m", echo_graph())
    with started(tmp_path / "m") as process, chat(url_of(ready_line(process)), "hi") as response:
        assert response.status == 200


def test_an_export_shows_a_progress_bar_on_a_terminal(hf_model: Path, tmp_path: Path) -> None:
    flags = ["--pull", hf_model, "--model_repository_path", tmp_path, "--model_name", "m"]
    flags.append("--no_verify")
    with terminal(*flags, TERM="xterm") as export:
        assert export.wait() == 0
    assert (tmp_path / "m/graph.pbtxt").is_file()
    bar = r"\r\x1b\[K\[#{7}\.{17}\]  30 % translating the model, \d+ s"
    assert re.search(bar, export.shown), export.shown
    (line,) = re.findall(r"(.*)\[ +[\d.]+ s\] compressing the weights\n", export.shown)
    assert line.endswith("\r\x1b[K")


def test_an_export_that_fails_ends_the_start(hf_model: Path, tmp_path: Path) -> None:
    result = run(hf_model, "--model-repository-path", tmp_path, "--weight-format", "int3")
    assert result.returncode == 1
    assert "is a Hugging Face model: it is exported" in result.stderr
    assert "argument --weight-format: invalid choice: 'int3'" in result.stderr
    assert result.stderr.endswith("could not be exported; the lines above say why\n")
