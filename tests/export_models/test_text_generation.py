import json
import shutil
from pathlib import Path

import pytest


def graph_of(name: str) -> str:
    return (Path("models") / name / "graph.pbtxt").read_text()


def listed() -> list[dict[str, object]]:
    return json.loads(Path("config.json").read_text())["model_config_list"]


def test_export_writes_model_graph_and_config(export, converter, checkpoint: Path) -> None:
    code, printed = export("--source_model", checkpoint)
    assert code == 0, printed
    assert listed() == [{"config": {"name": "tiny", "base_path": "models/tiny"}}]
    assert "serve it: server --config_path config.json" in printed
    assert {item.name for item in Path("models").iterdir()} == {"tiny"}
    lines = graph_of("tiny")
    assert lines.count('models_path: "./"') == 2
    assert "plugin_config: '{}'" in lines
    assert "max_num_seqs: 256" in lines
    assert "enable_prefix_caching: true" in lines
    assert "cache_size: 0" in lines
    assert 'device: "CPU"' in lines
    for unset in ("pipeline_type", "max_num_batched_tokens", "dynamic_split_fuse", "tool_parser"):
        assert unset not in lines


def test_every_flag_reaches_the_graph(export, converter, checkpoint: Path) -> None:
    export(
        *("--source_model", checkpoint, "--model_name", "org/ü", "--target_device", "GPU"),
        *("--kv_cache_precision", "u8", "--ov_cache_dir", "it's/cache", "--cache_size", 3),
        *("--enable_prefix_caching", "False", "--disable_dynamic_split_fuse"),
        *("--max_num_batched_tokens", 512, "--max_num_seqs", 9, "--pipeline_type", "LM_CB"),
        *("--tool_parser", "gptoss", "--reasoning_parser", "gptoss"),
    )
    lines = graph_of("org/ü")
    plugin_config = r"""'{"KV_CACHE_PRECISION": "u8", "CACHE_DIR": "it\'s/cache"}'"""
    assert f"plugin_config: {plugin_config}" in lines
    for line in (
        "pipeline_type: LM_CB",
        "enable_prefix_caching: false",
        "cache_size: 3",
        "max_num_batched_tokens: 512",
        "max_num_seqs: 9",
        'tool_parser: "gptoss"',
        'reasoning_parser: "gptoss"',
        "dynamic_split_fuse: false",
        'device: "GPU"',
    ):
        assert f"      {line}\n" in lines
    assert listed() == [{"config": {"name": "org/ü", "base_path": "models/org/ü"}}]


def test_hetero_is_pipeline_parallel(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint, "--target_device", "HETERO:GPU,CPU")
    assert '{"MODEL_DISTRIBUTION_POLICY": "PIPELINE_PARALLEL"}' in graph_of("tiny")


def test_command_of_the_converter(export, converter, checkpoint: Path) -> None:
    extra = "--sym --group-size 64"
    export(
        "--source_model",
        checkpoint,
        "--weight-format",
        "int4",
        f"--extra_quantization_params={extra}",
    )
    command = " ".join(converter.commands[0])
    assert f"--model={checkpoint}" in command
    assert "--task text-generation-with-past" in command
    assert "--weight-format int4 --sym --group-size 64" in command
    assert "--trust-remote-code" not in command
    assert converter.environments[0]["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(("has_amx", "flags"), [(True, "int8 --sym"), (False, "int8")])
def test_int8_is_symmetric_for_amx(
    export, converter, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, has_amx: bool, flags: str
) -> None:
    monkeypatch.setattr("export_models.quantization.weight_formats.has_int8_amx", lambda: has_amx)
    export("--source_model", checkpoint)
    command = converter.commands[0]
    assert command[command.index("--weight-format") : -1] == ["--weight-format", *flags.split()]


def test_what_tuning_tries_is_left_open(export, make_model) -> None:
    """What is fastest for int8 weights depends on the CPU that serves, not on this one."""
    make_model(Path("models/ready"), matrix='element_type="i8" shape="64, 64"')
    export("--source_model", "models/ready")
    assert "DYNAMIC_QUANTIZATION_GROUP_SIZE" not in graph_of("ready")


def test_properties_that_are_given_win(export, make_model) -> None:
    make_model(Path("models/ready"), matrix='element_type="i8" shape="64, 64"')
    given = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32", "KV_CACHE_PRECISION": "u4"}
    arguments = ("--plugin_config", json.dumps(given), "--kv_cache_precision", "u8")
    export("--source_model", "models/ready", *arguments)
    line = next(line for line in graph_of("ready").splitlines() if "plugin_config" in line)
    assert json.loads(line.partition("'")[2].rstrip("'")) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('["u8"]', "must be a JSON object"),
        ('{"A": {"B": 1}}', 'A must be a string, a number or a boolean, found {"B": 1}'),
        ('{"A": null}', "found null"),
        ('{"A": NaN}', "NaN is not a number"),
    ],
)
def test_bad_plugin_config(export, converter, checkpoint: Path, text: str, message: str) -> None:
    code, printed = export("--source_model", checkpoint, f"--plugin_config={text}")
    assert code == 2
    assert message in printed
    assert not converter.commands


def test_activations_are_quantised_after_the_conversion(export, converter, checkpoint) -> None:
    extra = "--extra_quantization_params=--smooth-quant-alpha 0.7"
    code, printed = export("--source_model", checkpoint, "--quant_mode", "int8", extra)
    assert code == 0, printed
    conversion, rounding, prompts, answers, quantization = converter.commands
    assert conversion[conversion.index("--weight-format") : -1] == ["--weight-format", "fp32"]
    assert Path(rounding[0]).is_file()
    assert prompts[1] == "export_models.quantization.calibration_tokens"
    assert answers[1:] == ["server.engine.sample_answers", *prompts[2:4]]
    assert quantization[1:4] == ["export_models.quantization.full_quantization", *prompts[2:4]]
    assert quantization[-2:] == ["--smooth-quant-alpha", "0.7"]
    assert "measured on the model's own generations" in printed


def test_calibration_file_reaches_the_quantisation(export, converter, checkpoint) -> None:
    Path("texts").write_text("One day\n")
    arguments = ("--quant-mode", "int8", "--calibration_file", "texts")
    _, printed = export("--source_model", checkpoint, *arguments)
    assert converter.samples == [{"line": 1, "content": "One day"}]
    assert "measured on the calibration file" in printed
    assert not any("sample_answers" in part for command in converter.commands for part in command)


def test_calibration_file_is_read_before_the_conversion(export, converter, checkpoint) -> None:
    Path("texts").write_text("")
    arguments = ("--quant_mode", "int8", "--calibration_file", "texts")
    code, printed = export("--source_model", checkpoint, *arguments)
    assert (code, converter.commands) == (1, [])
    assert "--calibration_file texts: has no text" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--quant_mode", "f8e4m3"), "invalid choice: 'f8e4m3' (choose from 'int8')"),
        (("--quant_mode", "int8", "--weight-format", "int8"), "only one of them is possible"),
        (("--calibration_file", "texts"), "--calibration_file: is for --quant_mode"),
        (("--quant_mode", "int8", "--extra_quantization_params=--ratio 1"), "unrecognized arg"),
    ],
)
def test_bad_quantisation(export, checkpoint, arguments: tuple[str, ...], message: str) -> None:
    code, printed = export("--source_model", checkpoint, *arguments)
    assert code == 2
    assert message in printed


def test_an_openvino_model_is_not_quantised_again(export, make_model) -> None:
    make_model(Path("models/ready"))
    code, printed = export("--source_model", "models/ready", "--quant_mode", "int8")
    assert code == 1
    assert "is an OpenVINO model already; --quant_mode needs the Hugging Face model" in printed


def test_remote_code_is_run_only_when_trusted(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint, "--trust_remote_code")
    assert "--trust-remote-code" in converter.commands[0]


def test_an_encoder_is_exported_with_its_decoder(
    export, converter, checkpoint: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(checkpoint, tmp_path / "summariser"))
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "is_encoder_decoder": True}))
    export("--source_model", source)
    assert "--task text2text-generation-with-past" in " ".join(converter.commands[0])
    code, printed = export("--source_model", source, "--quant_mode", "int8", "--overwrite_models")
    assert code == 1
    assert "is an encoder-decoder model, which --quant_mode cannot quantize" in printed


def test_a_hub_model_is_converted_under_its_id(export, converter) -> None:
    export("--source_model", "org/model")
    assert {"download", "org/model", "config.json"} <= {*converter.commands[0]}
    assert "--model=org/model" in converter.commands[1]
    assert "HF_HUB_OFFLINE" not in converter.environments[1]
    assert listed() == [{"config": {"name": "org/model", "base_path": "models/org/model"}}]


@pytest.mark.parametrize(("dataset", "is_offline"), [("c4", False), ("auto", True)])
def test_a_data_set_may_be_downloaded_for_a_local_model(
    export, converter, checkpoint, monkeypatch: pytest.MonkeyPatch, dataset: str, is_offline: bool
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    export("--source_model", checkpoint, f"--extra_quantization_params=--dataset {dataset}")
    assert ("HF_HUB_OFFLINE" in converter.environments[0]) == is_offline


def test_texts_that_are_missing_are_missed_before_the_conversion(
    export, converter, checkpoint
) -> None:
    code, printed = export("--source_model", checkpoint, "--extra_quantization_params=--gptq")
    assert (code, converter.commands) == (1, [])
    assert "--gptq compares effects on texts and needs --dataset" in printed


def test_existing_model_is_kept_but_graph_is_written(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint)
    code, printed = export("--source_model", checkpoint, "--max_num_seqs", 7)
    assert code == 0
    assert "exists already; --overwrite_models" in printed
    assert len(converter.commands) == 1
    assert "max_num_seqs: 7" in graph_of("tiny")
    assert "max_num_seqs: 256" in Path("models/tiny/graph.pbtxt.bak").read_text()


def test_same_run_again_changes_nothing(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint)
    export("--source_model", checkpoint)
    assert not Path("models/tiny/graph.pbtxt.bak").exists()
    assert len(listed()) == 1


def test_overwrite_replaces_the_model_and_keeps_user_files(export, converter, checkpoint) -> None:
    export("--source_model", checkpoint)
    model = Path("models/tiny")
    (model / "my_calculator.py").write_text("mine")
    (model / "adapter").mkdir()
    (model / "graph.pbtxt").write_text("edited")
    (model / "old_weights.bin").write_text("old")
    code, _ = export("--source_model", checkpoint, "--overwrite_models")
    assert code == 0
    assert (model / "run.txt").read_text() == "2"
    assert (model / "my_calculator.py").read_text() == "mine"
    assert (model / "adapter").is_dir()
    assert (model / "graph.pbtxt.bak").read_text() == "edited"
    assert not (model / "old_weights.bin").exists()


def test_incomplete_model_is_exported_again(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint)
    Path("models/tiny/openvino_model.bin").write_bytes(b"cut")
    code, printed = export("--source_model", checkpoint)
    assert code == 0
    assert "is not complete and is exported again: openvino_model.bin holds 3 of 16" in printed
    assert len(converter.commands) == 2


def test_failed_overwrite_keeps_the_old_model(export, converter, checkpoint: Path) -> None:
    export("--source_model", checkpoint)
    converter.log = "ValueError: no"
    code, printed = export("--source_model", checkpoint, "--overwrite_models")
    assert code == 1
    assert printed.count("error") == 1
    assert Path("models/tiny/run.txt").read_text() == "1"
    assert {item.name for item in Path("models").iterdir()} == {"tiny"}


@pytest.mark.parametrize(
    ("failure", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 1)]
)
def test_interrupted_export_leaves_nothing(export, converter, checkpoint, failure, code) -> None:
    converter.fail = failure
    assert export("--source_model", checkpoint)[0] == code
    assert not list(Path("models").iterdir())
    assert not Path("config.json").exists()


def test_incomplete_result_is_refused(export, converter, checkpoint: Path) -> None:
    converter.make_model = lambda folder: folder
    code, printed = export("--source_model", checkpoint)
    assert code == 1
    assert "the result is no complete model: openvino_model.xml is missing" in printed


def test_source_is_never_replaced(export, converter, checkpoint: Path) -> None:
    arguments = ("--source_model", checkpoint, "--model_repository_path", checkpoint.parent)
    code, printed = export(*arguments, "--overwrite_models")
    assert code == 1
    assert "is the source and would be replaced" in printed
    assert (checkpoint / "model.safetensors").exists()


def test_files_of_others_are_not_replaced(export, converter, checkpoint: Path) -> None:
    folder = Path("models/tiny")
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("precious")
    code, printed = export("--source_model", checkpoint)
    assert code == 1
    assert "holds files that no export wrote" in printed
    assert (folder / "thesis.txt").exists()


def test_openvino_folder_is_used_where_it_is(export, converter, make_model, tmp_path) -> None:
    source = make_model(tmp_path / "elsewhere" / "ready")
    code, printed = export("--source_model", "elsewhere/ready")
    assert code == 0
    assert "used where it is" in printed
    assert graph_of("ready").count(f'models_path: "{source}"') == 2
    assert not converter.commands
    assert not (source / "graph.pbtxt").exists()


def test_openvino_folder_in_the_repository_gets_a_relative_path(export, make_model) -> None:
    make_model(Path("models/store/ready"))
    export("--source_model", "models/store/ready", "--model_name", "a/b")
    assert graph_of("a/b").count('models_path: "../../store/ready"') == 2
    export("--source_model", "models/store/ready", "--model_name", "store/ready")
    assert graph_of("store/ready").count('models_path: "./"') == 2


def test_openvino_folder_without_tokenizer(export, make_model, tmp_path: Path) -> None:
    (make_model(tmp_path / "ready") / "openvino_tokenizer.xml").unlink()
    code, printed = export("--source_model", "ready")
    assert code == 1
    assert "openvino_tokenizer.xml is missing; a tokenizer is made by: convert_tokenizer" in printed
    assert not Path("models").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is empty"),
        ("/abs", "begins or ends with '/'"),
        ("a/", "begins or ends with '/'"),
        ("a//b", "empty part"),
        ("..", "begins with a dot"),
        ("a/../../b", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("a\0b", "cannot be printed"),
        ("a\nb", "cannot be printed"),
        ("a\udcffb", "cannot be printed"),
        ("a\\b", "backslash"),
        ("x" * 201, "longer than 200 bytes"),
    ],
)
def test_bad_model_name(export, converter, checkpoint: Path, name: str, message: str) -> None:
    code, printed = export("--source_model", checkpoint, f"--model_name={name}")
    assert code == 1
    assert message in printed
    assert not Path("models").exists()


def test_bad_config_is_found_before_the_conversion(export, converter, checkpoint: Path) -> None:
    Path("config.json").write_text("{ not json")
    code, printed = export("--source_model", checkpoint)
    assert code == 1
    assert "config.json: not JSON at line 1" in printed
    assert not converter.commands
    assert Path("config.json").read_text() == "{ not json"
