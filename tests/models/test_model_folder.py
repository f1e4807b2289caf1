"""What a model folder lacks is found before loading, by --check and in /v1/config alike."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import openvino as ov
import pytest
from support.openvino_models import add_model, write_model

from server.cli.check import check_models
from server.engine.model.verification_record import write_record
from server.models.config import load_config, single_model_config
from server.models.model_folder import (
    LLM_FILES,
    FolderKind,
    find_folder_problem,
    kind_of,
)
from server.models.model_manager import ModelManager
from server.models.tasks import TEXT_GENERATION, find_task

GRAPH = """
input_stream: "HTTP_REQUEST_PAYLOAD:in" output_stream: "HTTP_RESPONSE_PAYLOAD:out"
node {
  name: "LLM" calculator: "HttpLLMCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:in" output_stream: "HTTP_RESPONSE_PAYLOAD:out"
  node_options: { [type.googleapis.com/mediapipe.LLMCalculatorOptions]: { models_path: "%s" } }
}
"""
REQUIRED = ["model", "tokenizer", "detokenizer"]


def write_llm(folder: Path, *, without: str = "") -> Path:
    """The files of an exported LLM, empty but for what it is known by."""
    folder.mkdir(parents=True)
    for name in REQUIRED:
        for suffix in (".xml", ".bin"):
            (folder / f"openvino_{name}{suffix}").write_text('"beam_idx"')
    (folder / without).unlink() if without else None
    return folder


async def reason_of(folder: Path) -> str:
    """Why the model cannot be loaded, as /v1/config says it; `--check` must say the same."""
    config = single_model_config("m", folder)
    manager = ModelManager(config, drain_timeout_s=0)
    await manager.load_all()
    (version,) = manager.status()["m"]["model_version_status"]
    await manager.close(0)
    return str(version["reason"])


@pytest.mark.parametrize("has_graph", [True, False])
@pytest.mark.parametrize("name", [f"openvino_{part}.xml" for part in REQUIRED[1:]])
async def test_a_missing_file_of_an_llm(
    name: str, has_graph: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_llm(tmp_path / "m", without=name)
    if has_graph:
        (folder / "graph.pbtxt").write_text(GRAPH % ".")
    reason = await reason_of(folder)
    assert f"{name}: no such file; " in reason
    assert f"convert_tokenizer <id or folder> --with-detokenizer -o {folder}" in reason
    assert check_models(single_model_config("m", folder)) == 1
    assert capsys.readouterr().out == f"m: {reason}\n1 model(s), 1 with problems\n"


async def test_missing_weights(tmp_path: Path) -> None:
    folder = write_llm(tmp_path / "m", without="openvino_model.bin")
    (folder / "graph.pbtxt").write_text(GRAPH % ".")
    reason = await reason_of(folder)
    assert "openvino_model.bin: no such file; export" in reason
    assert "export_model text_generation --source_model" in reason


@pytest.mark.parametrize("has_graph", [True, False])
async def test_a_hugging_face_model(
    has_graph: bool, hf_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(hf_model, tmp_path / "m"))
    if has_graph:
        (folder / "graph.pbtxt").write_text(GRAPH % ".")
    reason = await reason_of(folder)
    command = f"export_model text_generation --source_model {folder}"
    assert "is a Hugging Face model, which must be exported first" in reason
    assert reason.endswith(command)
    assert check_models(single_model_config("m", folder)) == 1
    assert command in capsys.readouterr().out


async def test_a_models_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").write_text(GRAPH % "../lost")
    assert (await reason_of(tmp_path)).startswith("models_path '../lost': ")
    assert (await reason_of(tmp_path)).endswith("lost: no such folder")


async def test_a_file_that_comes_later_is_seen(tmp_path: Path) -> None:
    folder = write_llm(tmp_path / "llm", without="openvino_tokenizer.xml")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "graph.pbtxt").write_text(GRAPH % "../llm")
    (tmp_path / "config.json").write_text('{"model_config_list": [{"config": {"name": "m"}}]}')
    manager = ModelManager(load_config(tmp_path), drain_timeout_s=0)
    await manager.load_all()
    assert not manager.find_changes()
    (folder / "openvino_tokenizer.xml").touch()
    assert manager.find_changes()
    await manager.close(0)


@pytest.fixture
def folder(model_f32: Path, tmp_path: Path) -> Path:
    """A model that can be loaded."""
    folder = Path(shutil.copytree(model_f32, tmp_path / "m"))
    (folder / "graph.pbtxt").write_text(GRAPH % '." device: "CPU')
    return folder


def test_a_complete_folder_passes(folder: Path) -> None:
    assert check_models(single_model_config("m", folder)) == 0
    (folder / "graph.pbtxt").unlink()
    assert check_models(single_model_config("m", folder)) == 0


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_llm(tmp_path / "m")
    (folder / "graph.pbtxt").write_text(GRAPH % ".")
    assert check_models(single_model_config("m", folder)) == 1
    assert "openvino_tokenizer.xml: cannot be read as an OpenVINO model" in capsys.readouterr().out


def damage_weights(folder: Path) -> None:
    path = folder / "openvino_model.bin"
    path.write_bytes(path.read_bytes()[:1000])


def damage_device(folder: Path) -> None:
    path = folder / "graph.pbtxt"
    path.write_text(path.read_text().replace('device: "CPU"', 'device: "QPU"'))


def damage_record(folder: Path) -> None:
    write_record(folder, {"passed": False, "differences": ["alone: from token 3 on"]}, "1.0")


def damage_architecture(folder: Path) -> None:
    ov.save_model(add_model(), folder / "openvino_model.xml")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_weights, "openvino_model.xml: OpenVINO cannot read it: "),
        (damage_device, "device 'QPU': there is no QPU here; available devices: CPU"),
        (damage_record, "its answers are wrong: alone: from token 3 on; "),
        (damage_architecture, "openvino_model.xml: "),
    ],
)
def test_what_would_fail_at_load_is_found(
    damage: Callable[[Path], None],
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(folder)
    assert check_models(single_model_config("m", folder)) == 1
    found = capsys.readouterr().out
    assert found.startswith("m: graph 'm', node ")
    assert message in found


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"graph.pbtxt": ""}, FolderKind.GRAPH),
        ({"1/graph.pbtxt": ""}, FolderKind.GRAPH),
        ({"model.onnx": ""}, FolderKind.MODEL),
        ({"3/model.xml": ""}, FolderKind.MODEL),
        ({"config.json": json.dumps({"model_config_list": []})}, FolderKind.CONFIGURATION),
        ({"config.yaml": "mediapipe_config_list: []"}, FolderKind.CONFIGURATION),
        ({"config.json": '{"model_type": "x"}', "a.safetensors": ""}, FolderKind.CHECKPOINT),
        ({"config.json": '{"model_type": "x"}'}, FolderKind.UNKNOWN),
        ({"config.json": "{"}, FolderKind.UNKNOWN),
        ({}, FolderKind.UNKNOWN),
    ],
)
def test_kinds_of_folders(files: dict[str, str], kind: FolderKind, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert kind_of(tmp_path) is kind


async def test_an_openvino_model_needs_no_more(tmp_path: Path) -> None:
    write_model(tmp_path / "m", add_model())
    assert check_models(single_model_config("m", tmp_path / "m")) == 0


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.touch()
    assert find_folder_problem(file) == (
        f"{file}: is a file, but no model (*.xml, *.onnx, *.tflite, *.pb, *.pdmodel)"
    )
    model = tmp_path / "model.onnx"
    model.touch()
    assert find_folder_problem(model) is None


def test_a_folder_that_may_not_be_read() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o300)
        if user == 0:  # who may read everything
            os.seteuid(65534)
        try:
            problem = find_folder_problem(folder)
        finally:
            os.seteuid(user)
            folder.chmod(0o700)
    assert problem == f"{folder}: no permission to read it; let the server's user read the folder"


@pytest.mark.parametrize("part", ["encoder_model", "decoder_model"])
def test_an_encoder_and_a_decoder_are_a_model(tmp_path: Path, part: str) -> None:
    folder = write_llm(tmp_path / "m")
    for suffix in (".xml", ".bin"):
        path = folder / f"openvino_model{suffix}"
        shutil.copy(path, folder / f"openvino_encoder_model{suffix}")
        path.rename(folder / f"openvino_decoder_model{suffix}")
    assert find_folder_problem(folder, LLM_FILES) is None
    assert find_task(folder) is TEXT_GENERATION
    missing = folder / f"openvino_{part}.xml"
    missing.unlink()
    problem = find_folder_problem(folder, LLM_FILES)
    assert problem is not None
    assert problem.startswith(f"{missing}: no such file; export the Hugging Face model again")
