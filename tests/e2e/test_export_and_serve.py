"""`server --source_model`: a model is brought into a repository, then served."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.server_process import ROOT, server_process

from server.engine.model.tuning.saved_choices import SAVED_FILE

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_folder_is_served(chat_model: Path, tmp_path: Path) -> None:
    source = ("--source_model", chat_model, "--model_repository_path", tmp_path)
    options = ("--task", "text_generation", "--max_num_seqs", "7", "--target_device", "CPU")
    with (
        server_process(*source, *options, "--model_name", "chat") as server,
        server.openai() as client,
    ):
        answer = client.chat.completions.create(model="chat", messages=QUESTION, temperature=0)
        assert "Paris" in (answer.choices[0].message.content or "")
    assert "max_num_seqs: 7" in (tmp_path / "chat/graph.pbtxt").read_text()
    assert not (tmp_path / "config.json").exists()


def test_a_server_tunes_itself_once(chat_model: Path, tmp_path: Path) -> None:
    shutil.copytree(chat_model, tmp_path / "chat")
    (tmp_path / "chat" / SAVED_FILE).unlink(missing_ok=True)
    arguments = ("--model_path", tmp_path / "chat", "--model_name", "chat", "--log_level", "DEBUG")
    choices, logs = [], []
    for flag in ("true", "false", "false"):
        with server_process(*arguments, "--no_auto_tune", flag) as server:
            (version,) = server.get("/v1/config")[1]["chat"]["model_version_status"]
            (executor,) = [n for n in version["nodes"].values() if "auto_tuned" in n]
            choices.append(executor["auto_tuned"])
            # What is written beside the model is no change of it.
            assert server.post("/v1/config/reload", {})[0] == 200
        logs.append("".join(server.log))
    assert choices[0] == {}
    assert "tuning" not in logs[0]
    # On a busy machine a load may have no time for all candidates.
    if "the next load goes on" not in logs[1]:
        assert "tuned in" in logs[1]
        assert "tuned by an earlier load" in logs[2]
        assert choices[1] == choices[2]
    assert (tmp_path / "chat" / SAVED_FILE).is_file()


def test_pull_does_not_serve(chat_model: Path, tmp_path: Path) -> None:
    flags = ("--pull", "--source_model", chat_model, "--model_repository_path", tmp_path)
    result = run(*flags, "--dynamic_split_fuse", "false")
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert "dynamic_split_fuse: false" in (tmp_path / "tiny_chat/graph.pbtxt").read_text()


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--source_model", "/nowhere/at/all"], "no such folder"),
        (["--source_model", "{model}", "--weight-format", "int3"], "--weight-format"),
        (["--source_model", "{model}", "--model_name", "../out"], "--model_name '../out'"),
    ],
)
def test_what_cannot_be_exported(
    flags: list[str], problem: str, chat_model: Path, tmp_path: Path
) -> None:
    flags = [flag.format(model=chat_model) for flag in flags]
    result = run("--pull", *flags, "--model_repository_path", tmp_path)
    assert result.returncode == 1
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert not any(tmp_path.iterdir())


def test_configure_writes_the_graph_of_a_folder(chat_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    shutil.copytree(chat_model, folder)
    (folder / "graph.pbtxt").unlink()
    result = run("--configure", "--model_path", folder, "--cache_size", "1")
    assert result.returncode == 0, result.stderr
    assert "cache_size: 1" in (folder / "graph.pbtxt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["chat"]
    assert run("--check", "--model_name", "chat", "--model_path", folder).returncode == 0


def test_a_signal_during_an_export(hf_model: Path, tmp_path: Path) -> None:
    flags = ["--source_model", hf_model, "--model_repository_path", tmp_path, "--pull"]
    command = [sys.executable, "-m", "server", *map(str, flags)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert "Traceback" not in rest
    assert not any(tmp_path.rglob("*.xml"))


@pytest.mark.parametrize("has_config", [False, True])
def test_an_llm_needs_no_graph(has_config: bool, chat_model: Path, tmp_path: Path) -> None:
    shutil.copytree(chat_model, tmp_path / "chat")
    (tmp_path / "chat/graph.pbtxt").unlink()
    source: tuple[object, ...] = ("--model_name", "chat", "--model_path", tmp_path / "chat")
    if has_config:
        assert run("--add_to_config", *source, "--config_path", tmp_path).returncode == 0
        source = ("--config_path", tmp_path)
    with server_process(*source) as server, server.openai() as client:
        answer = client.chat.completions.create(model="chat", messages=QUESTION, temperature=0)
        assert "Paris" in (answer.choices[0].message.content or "")
    assert not (tmp_path / "chat/graph.pbtxt").exists(), "nothing is written"
