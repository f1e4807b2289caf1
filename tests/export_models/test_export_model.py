import argparse
import subprocess
import sys
from pathlib import Path

import pytest

import export_models.export_model
from export_models.quantization.weight_formats import resolve_weight_format

ROOT = Path(export_models.export_model.__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ([str(ROOT / "export_models" / "export_model.py")], "/"),
        (["export_models/export_model.py"], ROOT),
        (["-m", "export_models.export_model"], ROOT),
        (["-c", "import sys; from export_models.export_model import main; sys.exit(main())"], ROOT),
    ],
)
def test_every_way_to_start_it(command: list[str], folder: str) -> None:
    result = subprocess.run(
        [sys.executable, *command, "text_generation", "--source_model", "/nowhere"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == "export_model: error: --source_model '/nowhere': no such folder\n"


@pytest.mark.parametrize("task", ["embeddings", "rerank"])
def test_an_older_task_of_ovms(export, task: str) -> None:
    code, printed = export("--source_model", "x", task=task)
    assert code == 2
    assert f"OVMS's older task '{task}' is not here; use {task}_ov" in printed


def test_unknown_task(export) -> None:
    code, printed = export("--source_model", "x", task="text_generatio")
    assert code == 2
    assert "unknown task 'text_generatio'; possible: text_generation, embeddings_ov" in printed


def test_no_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export_models.export_model.main([])
    assert "no task is given; possible: text_generation" in capsys.readouterr().err


def test_unknown_flag_names_close_ones(export) -> None:
    code, printed = export("--source_modell", "x")
    assert code == 2
    assert "unknown flag --source_modell; did you mean '--source_model'" in printed
    assert "eagle3" not in printed


def test_flags_are_not_abbreviated(export) -> None:
    assert "unknown flag --source; did you mean '--source_model'" in export("--source", "x")[1]


def test_missing_source(export) -> None:
    assert "--source_model is missing" in export()[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--draft_eagle3_mode",),
        ("--max_prompt_len", "10"),
        ("--pipeline_type", "VLM"),
        ("--target_device", "NPU"),
    ],
)
def test_what_is_not_there_yet_is_refused_by_name(export, arguments: tuple[str, ...]) -> None:
    code, printed = export("--source_model", "x", *arguments)
    assert code == 2
    assert arguments[0] in printed
    assert "not supported yet" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--weight-format", "nf4"), "choose from 'fp32', 'fp16', 'int8', 'int8_sym'"),
        (("--kv_cache_precision", "u4"), "choose from 'u8'"),
        (("--pipeline_type", "CB"), "possible: LM, LM_CB, AUTO"),
        (("--tool_parser", "hermes4"), "did you mean 'hermes3'"),
        (("--reasoning_parser", "hermes3"), "possible: cohere, deepseek_v3, "),
        (
            ("--enable_tool_guided_generation", "--tool_parser", "functionary"),
            "--enable_tool_guided_generation is not possible with the tool_parser "
            "'functionary_v32'; "
            "possible: cohere, deepseek_v3, ",
        ),
        (("--tool_parser", "hermes3", "--reasoning_parser", "gptoss"), "for both or for neither"),
        (("--enable_prefix_caching", "maybe"), "'maybe' is neither true nor false"),
        (("--cache_size", "-1"), "'-1' is not a whole number from 0"),
        (("--cache_size", "1" + 30 * "0"), "00' is not a whole number from 0"),
        (("--max_num_seqs", "0"), "'0' is not a whole number from 1"),
        (("--max_num_batched_tokens", "many"), "'many' is not a whole number from 1"),
        (("--extra_quantization_params", "'--sym"), "No closing quotation"),
    ],
)
def test_bad_value(export, arguments: tuple[str, ...], message: str) -> None:
    code, printed = export("--source_model", "x", *arguments)
    assert code == 2
    assert arguments[0] in printed
    assert message in printed


def test_defaults_are_model_servers() -> None:
    _, parser, values = export_models.export_model._parse(
        ["text_generation", "--source_model", "x"]
    )
    assert isinstance(values, argparse.Namespace)
    assert str(values.model_repository_path) == "models"
    assert str(values.config_file_path) == "config.json"
    assert resolve_weight_format(values.weight_format, "GPU", ()) == "int8_asym"
    assert values.target_device == "CPU"
    assert values.max_num_seqs == 256
    assert values.enable_prefix_caching is True
    assert parser.prog == "export_model text_generation"
