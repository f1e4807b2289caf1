"""The files for containers: what Kubernetes says of them, and whether the server starts by them."""

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.openvino_models import add_model, write_model
from support.server_process import ROOT, server_process

from server.cli.access.api_keys import KEY_VARIABLE

DEPLOY = ROOT / "demos" / "deploy"
KSERVE_NAME = "{{.Name}}"


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def _instruction(name: str) -> Any:
    """The list of the last instruction of this name in the Dockerfile."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return json.loads(lines[-1].removeprefix(name))


def _container(document: dict[str, Any]) -> dict[str, Any]:
    pod = document["spec"].get("template", document)["spec"]
    (container,) = pod["containers"]
    return container


def _flags(arguments: Sequence[str], **values: object) -> Iterator[object]:
    """The arguments with other values for these flags."""
    left = list(arguments)
    while left:
        name, found, _ = left.pop(0).partition("=")
        key = name.removeprefix("--")
        if key in values:
            if not found:
                left.pop(0)
            yield from (name, values[key])
        else:
            yield name + found + _


def test_kubernetes_knows_every_field() -> None:
    for document in _documents("kubernetes.yaml"):
        kubernetes_validate.validate(document, "1.37", strict=True)


def test_the_key_of_the_secret_is_that_of_the_server() -> None:
    (variable,) = _container(_documents("kubernetes.yaml")[0])["env"]
    assert variable["name"] == KEY_VARIABLE
    # A trial does not need the Secret.
    assert variable["valueFrom"]["secretKeyRef"]["optional"]


def test_the_grace_period_covers_pause_drain_and_end() -> None:
    deployment, _ = _documents("kubernetes.yaml")
    container = _container(deployment)
    (_, pause) = container["lifecycle"]["preStop"]["exec"]["command"]
    drain = container["args"][container["args"].index("--drain_timeout_s") + 1]
    needed = int(pause) + int(drain) + 15
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= needed


def test_the_probes_ask_what_the_server_answers() -> None:
    container = _container(_documents("kubernetes.yaml")[0])
    (port,) = (port["containerPort"] for port in container["ports"])
    with server_process("tiny_chat") as server:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert server.get(container[probe]["httpGet"]["path"])[0] == 200
    assert str(port) == container["args"][container["args"].index("--rest_port") + 1]


def test_the_image_starts_with_the_arguments_of_kubernetes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_config_list": []}')
    arguments = _container(_documents("kubernetes.yaml")[0])["args"]
    program, *entry = _instruction("ENTRYPOINT")
    assert program == "server"
    flags = _flags(arguments, config_path=tmp_path / "config.json", rest_port=0)
    with server_process(*entry, *flags) as server:
        assert server.url.startswith("http://0.0.0.0:")
        assert server.get("/health")[0] == 200


@pytest.mark.parametrize("kind", ["llm", "tensors"])
def test_the_image_starts_with_the_arguments_of_kserve(tmp_path: Path, kind: str) -> None:
    runtime, service = _documents("kserve.yaml")
    assert service["spec"]["predictor"]["model"]["runtime"] == runtime["metadata"]["name"]
    folder = ROOT / "server" / "bundled_models" / "tiny_chat"
    if kind == "tensors":
        folder = tmp_path
        write_model(folder / "1", add_model())
    arguments = [word.replace(KSERVE_NAME, "chat") for word in _container(runtime)["args"]]
    assert "--port=9000" in arguments
    flags = _flags(arguments, model_path=folder, port=0, rest_port=0)
    with server_process(*_instruction("ENTRYPOINT")[1:], *flags) as server:
        assert server.get("/v2/models/chat/ready")[0] == 200
        assert server.grpc_address.startswith("0.0.0.0:")
        if kind == "llm":
            chat = [{"role": "user", "content": "What is the capital of France?"}]
            body = {"model": "chat", "messages": chat, "temperature": 0}
            _, answer = server.post("/v3/chat/completions", body)
            assert "Paris" in answer["choices"][0]["message"]["content"]


def test_the_image_has_what_the_package_needs() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for path in kept:
        assert (ROOT / path).exists(), path
    packages = {line.parent.name for line in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages | {"pyproject.toml", "README.md", "LICENSE", "pyovms.py"} == kept


def test_the_health_check_is_a_program_that_ends_with_1_where_nobody_answers() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    command = json.loads(text.partition("CMD \\\n")[2].partition("\n")[0])
    code = command[-1].replace("8000", "9")
    assert subprocess.run([command[0], "-c", code], capture_output=True, check=False).returncode
    with server_process("tiny_chat") as server:
        port = server.url.rpartition(":")[2]
        code = command[-1].replace("8000", port)
        assert not subprocess.run([command[0], "-c", code], check=False).returncode


def test_the_commands_of_the_page_name_files_that_exist() -> None:
    page = (DEPLOY / "README.md").read_text()
    for line in page.splitlines():
        if line.startswith("docker build"):
            words = shlex.split(line)
            assert (ROOT / words[words.index("-f") + 1]).is_file()
