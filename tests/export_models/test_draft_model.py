"""Export of a draft model beside the model that it is for."""

import json
import re
from pathlib import Path

import pytest

FLAGS = ("--model_name", "m", "--draft_source_model")


def graph_of(name: str) -> str:
    return (Path("models") / name / "graph.pbtxt").read_text()


def test_a_draft_is_exported_into_the_folder_of_its_model(
    export, converter, checkpoint: Path
) -> None:
    code, printed = export("--source_model", checkpoint, *FLAGS, checkpoint)
    assert code == 0, printed
    draft = Path("models/m/tiny")
    assert {"openvino_model.xml", "openvino_detokenizer.xml"} <= {p.name for p in draft.iterdir()}
    assert [line.strip() for line in graph_of("m").splitlines() if "draft" in line] == [
        'draft_models_path: "./tiny"',
        'draft_device: "CPU"',
        "draft_eagle3_mode: false",
    ]
    # OVMS's lines, in its order.
    lines = (
        r'device: "CPU"\n +# Speculative decoding configuration\n +draft_models_path: "./tiny"\n'
    )
    assert re.search(lines, graph_of("m"))
    assert not list(Path("models").rglob(".*partial*"))


def test_a_model_without_a_draft_has_no_such_lines(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint)
    assert "draft" not in graph_of("tiny")
    assert "Speculative" not in graph_of("tiny")
    assert "prompt_lookup" not in graph_of("tiny")


def test_the_draft_has_the_weights_and_the_device_of_the_model(
    export, converter, checkpoint: Path
) -> None:
    export(
        *("--source_model", checkpoint, *FLAGS, "org/small-one", "--target_device", "GPU"),
        *("--weight-format", "int4"),
    )
    assert 'draft_models_path: "./org-small-one"' in graph_of("m")
    assert 'draft_device: "GPU"' in graph_of("m")
    conversions = [" ".join(command) for command in converter.commands if "--task" in command]
    assert len(conversions) == 2
    assert "--model=org/small-one" in conversions[1]
    assert all("--weight-format int4" in command for command in conversions)


def test_the_folder_of_a_draft_can_be_named(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint, *FLAGS, checkpoint, "--draft_model_name", "a/b")
    assert (Path("models/m/a-b") / "openvino_model.xml").exists()
    assert 'draft_models_path: "./a-b"' in graph_of("m")


def test_what_exists_is_not_converted_again(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint, "--model_name", "m")
    export("--source_model", checkpoint, *FLAGS, checkpoint)
    num_commands = len(converter.commands)
    assert 'draft_models_path: "./tiny"' in graph_of("m")
    code, printed = export("--source_model", checkpoint, *FLAGS, checkpoint)
    assert code == 0
    assert "tiny exists already" in printed
    assert len(converter.commands) == num_commands
    export("--source_model", checkpoint, *FLAGS, checkpoint, "--overwrite_models")
    assert len(converter.commands) > num_commands


def test_an_openvino_draft_is_used_where_it_is(
    export, converter, checkpoint: Path, make_model, tmp_path: Path
) -> None:
    folder = make_model(tmp_path / "ready")
    export("--source_model", checkpoint, *FLAGS, folder)
    assert f'draft_models_path: "{folder}"' in graph_of("m")
    assert not (Path("models/m") / "ready").exists()


def test_a_draft_from_the_hub_that_is_converted_already(
    export, converter, checkpoint: Path
) -> None:
    export("--source_model", checkpoint, *FLAGS, "OpenVINO/small")
    download = next(command for command in converter.commands if "OpenVINO/small" in command)
    assert "download" in download
    assert 'draft_models_path: "./OpenVINO-small"' in graph_of("m")


def test_a_draft_that_cannot_be_converted_leaves_nothing(
    export, converter, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_the_draft(command, environment, on_output):
        if "--model=org/small" in command:
            raise KeyboardInterrupt
        return converter(command, environment, on_output)

    monkeypatch.setattr("export_models.conversion.converter.run_tool", fail_for_the_draft)
    code, _ = export("--source_model", checkpoint, *FLAGS, "org/small")
    assert code != 0
    assert not Path("models/m").exists()
    assert not Path("config.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--draft_source_model", "no such/folder/here"), "--draft_source_model 'no such/folder"),
        (("--draft_model_name", "x"), "--draft_model_name: is for --draft_source_model"),
        (("--draft_source_model", "a/b", "--draft_model_name", ".x"), "--draft_model_name '.x': "),
    ],
)
def test_problems_are_named(
    export, checkpoint: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, printed = export("--source_model", checkpoint, *arguments)
    assert code != 0
    assert message in printed


def test_a_draft_for_another_task_is_refused(export, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vits"
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = {"model_type": "speecht5", "architectures": ["SpeechT5ForTextToSpeech"]}
    (folder / "config.json").write_text(json.dumps(config))
    code, printed = export("--source_model", checkpoint, "--draft_source_model", folder)
    assert code == 1
    assert "is a model for text2speech" in printed


def test_prompt_lookup(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint, "--prompt_lookup_decoding", "--kv_cache_precision", "u8")
    expected = """plugin_config: '{"prompt_lookup": true, "KV_CACHE_PRECISION": "u8"}'"""
    assert expected in graph_of("tiny")
