"""What the flags mean, alone and together; the process around them is tested in test_main.py."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from support.command_lines import parse, problem_of

from server.api.settings import CorsSettings, HttpSettings, KeyScope
from server.errors import ConfigError
from server.models.classic_config import ClassicConfig, VersionPolicy
from server.models.tasks import TEXT_GENERATION


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OVMS_MODEL_REPOSITORY_PATH", "API_KEY"):
        monkeypatch.delenv(name, raising=False)


def settings_of(*arguments: str | Path) -> HttpSettings:
    return parse("--config_path", "x", *arguments).http.settings(None)


def test_defaults() -> None:
    # Those of Model Server, except for the origins: it allows all.
    arguments = parse("--config_path", "x")
    assert arguments.serving.file_system_poll_wait_seconds == 1
    assert arguments.http.settings(None) == HttpSettings(
        keys=None,
        key_scope=KeyScope.CHANGES,
        cors=CorsSettings(("localhost",), ("*",), ("*",), False),
        allowed_hosts=None,
        max_request_bytes=64 * 2**20,
        request_timeout_s=0,
    )


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        (["--max_request_bytes", "5"], "max_request_bytes", 5),
        (["--request_timeout_s", "1.5"], "request_timeout_s", 1.5),
        (["--api_key_protects", "all"], "key_scope", KeyScope.ALL),
        (["--allowed_origins", "https://a, http://b:1"], "origins", ("https://a", "http://b:1")),
        (["--allowed_origins", "localhost,https://a"], "origins", ("localhost", "https://a")),
        (["--allowed_hosts", "a.example, b"], "allowed_hosts", ("a.example", "b")),
        (["--trusted_proxies", "10.1.2.3/8"], "trusted_proxies", (ip_network("10.0.0.0/8"),)),
        (["--allowed_methods", "GET,POST"], "methods", ("GET", "POST")),
        (["--allowed_headers", "x-a"], "headers", ("x-a",)),
        (["--access_log", "off"], "access_log", False),
        (["--unknown_fields", "refuse"], "refuses_unknown_fields", True),
    ],
)
def test_http_flags(flags: list[str], field: str, value: Any) -> None:
    settings = settings_of(*flags)
    holder = settings if hasattr(settings, field) else settings.cors
    assert getattr(holder, field) == value


NAMED = ("--allowed_origins=https://a", "--allowed_methods=GET", "--allowed_headers=x")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--allow_credentials", True),
        ("--allow_credentials=true", True),
        ("--allow_credentials=1", True),
        ("--allow_credentials=False", False),
    ],
)
def test_forms_of_a_boolean(flag: str, value: bool) -> None:
    assert settings_of(flag, *NAMED).cors.has_credentials is value


@pytest.mark.parametrize("flag", NAMED)
def test_credentials_need_names(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [f"{flag.partition('=')[0]}=*" if other == flag else other for other in NAMED]
    problem = problem_of(capsys, "--config_path=x", "--allow_credentials", *flags)
    assert "--allow_credentials needs names" in problem


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--max_request_bytes", "0"], "'0' is not a whole number from 1"),
        (["--max_request_bytes", "1e3"], "'1e3' is not a whole number"),
        (["--request_timeout_s", "-1"], "'-1' is not a time"),
        (["--trusted_proxies", "proxy"], "'proxy' does not appear to be an IPv4"),
        (["--file_system_poll_wait_seconds", "inf"], "'inf' is not a time"),
        (["--api_key_protects", "some"], "invalid choice: 'some'"),
        (["--allow_credentials=maybe"], "'maybe' is neither true nor false"),
        (["--access_log=maybe"], "invalid choice: 'maybe'"),
        (["--allowed_origins", "example.com"], "'example.com' is not an origin"),
        (["--allowed_origins", "https://a/"], "'https://a/' is not an origin"),
        (["--allowed_origins", "*,https://a"], "* means all"),
        (["--allowed_origins", ""], "'' is not an origin"),
        (["--allowed_methods", "GET,P OST"], "'P OST' is not a valid name"),
        (["--allowed_headers", "a\nb"], "is not a valid name in HTTP"),
        (["--rest_port", "٣"], "not a port"),
        (["--port", "65536"], "not a port"),
        (["--grpc_bind_address", "a,,b"], "has an empty address"),
        (["--grpc_memory_quota", "0"], "not a whole number from 1"),
        (["--grpc_channel_arguments", "a=1,b"], "'b' is not NAME=VALUE"),
        (["--grpc_channel_arguments", "a=2147483648"], "does not fit into 32 bits"),
    ],
)
def test_bad_values(flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert problem in problem_of(capsys, "--config_path=x", *flags)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--list_models", "--add_to_config"], "--list_models and --add_to_config cannot be used"),
        (["--list_models"], "needs --model_repository_path"),
        (["--add_to_config", "--config_path=x"], "--add_to_config needs --model_name"),
        (["--add_to_config", "--model_name=m"], "--add_to_config needs --config_path"),
        (["--add_to_config", "--model_name=m", "--config_path=x"], "needs --model_path"),
        (["--remove_from_config", "--model_name=m"], "needs --config_path"),
        (["--source_model=x"], "--source_model needs --model_repository_path"),
        (["--source_model=x", "--config_path=x"], "cannot be used together with --config_path"),
        (["--pull", "--config_path=x"], "need --source_model"),
        (["--configure"], "--configure needs --model_path"),
        (["--cache_size=1", "--config_path=x"], "--cache_size is for one model"),
        (["--quant_mode=int8", "--model_name=m", "--model_path=x"], "--quant_mode is for an expor"),
        (["--verify", "--model_name=m", "--model_path=x", "--pooling=CLS"], "--pooling is for an"),
        (["--source_model=x", "--task=embedding"], "'embedding' is unknown; did you mean 'embeddi"),
        (["--source_model=x", "--task=x"], "'x' is unknown; possible: speech2text, text2speech, "),
        (["--task=rerank", "--config_path=x"], "--task is for one model"),
        (["--max_allowed_chunks=2", "--config_path=x"], "--max_allowed_chunks is for one m"),
        (["--truncate", "--config_path=x"], "--truncate is for one model"),
        (["--normalize=perhaps"], "'perhaps' is neither true nor false"),
        (["--model_name=m"], "--model_name needs --model_path"),
        (["--model_repository_path=r", "--model_path=x"], "--model_path needs --model_name"),
        (["--shape", "1,2", "--config_path=x"], "--shape is for one model"),
        (["--nireq=1", "--source_model=x", "--model_repository_path=r"], "--nireq is for"),
        (["--target_device=CPU", "--config_path=x"], "--target_device is for"),
        (["--chat_template=x", "--config_path=x"], "--chat_template is for one model"),
        (["--lora-modules", "a=x", "--config_path=x"], "--lora-modules is for one model"),
        (["--config_path=x", "--lora_folder=lost"], "--lora_folder lost: no such folder"),
        (["m", "--lora-modules", "a"], "'a' names no adapter; possible: NAME=FOLDER"),
        (["m", "--lora-modules", '{"name": "a"}'], "names no adapter"),
        (
            ["--model_name=m", "--model_path=x", "--lora-modules", "a=x", "a=y"],
            "two adapters are called 'a'",
        ),
        (["--chat_template=x", "--model_name=m", "--model_path=x"], "x: no such file"),
        (["--remove_from_config", "--model_name=m", "--config_path=x", "--nireq=1"], "--nireq is"),
        (["--port=80", "--rest_port=80", "--config_path=x"], "--port and --rest_port are both 80"),
        (["--mean=1", "--config_path=x"], "--mean of OVMS cannot be used here"),
        (["--rest_wokers", "2", "--config_path=x"], "unknown flag --rest_wokers"),
        (["--source_modl", "2"], "did you mean '--source_model' or"),
    ],
)
def test_flags_that_do_not_go_together(
    flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problem in problem_of(capsys, *flags)


def test_a_start_command_of_ovms() -> None:
    flags = ["--port", "9000", "--rest_port=8000", "--rest_workers=16", "--metrics_enable"]
    flags += ["--metrics_list", "ovms_requests_success", "--verbose_response=false"]
    line = parse("--config_path=x", *flags)
    assert (line.grpc.port, line.http.rest_port) == (9000, 8000)
    assert [warning.partition(":")[0] for warning in line.warnings] == [
        "--rest_workers has no effect",
    ]
    assert line.http.metrics_enable
    assert line.http.metrics_list == ("ovms_requests_success",)


def test_the_arguments_of_kserves_runtime() -> None:
    """github.com/kserve/kserve, config/runtimes/kserve-openvino.yaml."""
    line = parse(
        "--model_name=m",
        "--model_path=/mnt/models",
        "--port=9000",
        "--rest_port=8080",
        "--file_system_poll_wait_seconds=0",
    )
    assert line.warnings == ()
    assert (line.grpc.port, line.http.rest_port) == (9000, 8080)


def test_grpc_is_off_unless_asked_for() -> None:
    assert parse("--config_path=x").grpc.port is None


def test_the_settings_of_grpc() -> None:
    flags = ["--grpc_memory_quota=7", "--grpc_channel_arguments", "grpc.a=1, grpc.b=x,"]
    more = ["--request_timeout_s=3", "--access_log=off", "--api_key_protects=all"]
    line = parse("--config_path=x", "--port=1", *flags, *more)
    settings = line.grpc.settings(line.http.settings(None))
    assert (settings.memory_quota, settings.request_timeout_s) == (7, 3)
    assert settings.channel_arguments == {"grpc.a": 1, "grpc.b": "x"}
    assert (settings.access_log, settings.key_scope) == (False, KeyScope.ALL)


# All 55 server flags and the task flags of OVMS 2026.4, with a value that it takes.
OVMS_FLAGS = """
--port=2 --rest_port=1 --grpc_bind_address=x --rest_bind_address=127.0.0.1 --grpc_workers=1
--grpc_max_threads=1 --grpc_memory_quota=1 --grpc_channel_arguments=a=b --rest_workers=2
--log_level=DEBUG --log_path=x --verbose_response --trace_path=x --file_system_poll_wait_seconds=0
--custom_node_resources_cleaner_interval_seconds=1 --cache_dir=x
--metrics_enable --metrics_list=ovms_streams
--cpu_extension=x --allowed_media_domains=all --allowed_local_media_path=x
--allowed_origins=https://a --allowed_methods=GET --allowed_headers=x --api_key_file=x
--idle_unload_timeout_seconds=1 --disable_input_count_validation --group_name=x
--model_distribution_policy=PIPELINE_PARALLEL
"""
OVMS_MODEL_FLAGS = """
--model_name=m --model_path=x --batch_size=1 --shape=auto --layout=NHWC --nireq=1
--model_version_policy={"all":{}} --plugin_config={} --target_device=CPU
"""
OVMS_EXPORT_FLAGS = """
--source_model=a/b --model_repository_path=x --task=text_generation --pull --overwrite_models
--weight-format=int8 --extra_quantization_params=x --max_num_seqs=1 --pipeline_type=LM
--enable_prefix_caching=true --max_num_batched_tokens=1 --cache_size=1 --dynamic_split_fuse=true
--reasoning_parser=qwen3 --tool_parser=hermes3 --enable_tool_guided_generation=false
--max_prompt_len=1 --cache_interval_multiplier=2 --kv_cache_precision=u8 --model_name=m
--draft_source_model=a/c
--target_device=CPU
"""
OVMS_TASK_FLAGS = """
--source_model=a/b --model_repository_path=x --task=embeddings --num_streams=1 --normalize=true
--truncate=false --pooling=CLS --max_allowed_chunks=1 --resolution=64x64 --max_resolution=64x64
--default_resolution=64x64 --num_images_per_prompt=1 --guidance_scale=1
--max_num_images_per_prompt=1 --default_num_inference_steps=1 --max_num_inference_steps=1
--source_loras=a=b/c --model_type=kokoro --vocoder=x
"""


@pytest.mark.parametrize(
    "flags",
    ["--config_path=x --list_models=false", OVMS_MODEL_FLAGS, OVMS_EXPORT_FLAGS, OVMS_TASK_FLAGS],
)
def test_the_flags_of_ovms_are_known(flags: str) -> None:
    parse(*flags.split(), *OVMS_FLAGS.split())


@pytest.mark.parametrize(
    "flag", ["--mean=1", "--scale=1", "--color_format=RGB", "--precision=fp16", "--max_length=9"]
)
def test_a_flag_without_which_answers_would_be_wrong(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "of OVMS cannot be used here" in problem_of(capsys, "--config_path=x", flag)


@pytest.mark.parametrize(
    "flags",
    [
        ["--rest-port", "9", "--log-level=DEBUG", "--no-auto-tune"],
        ["--rest_port", "9", "--log_level=DEBUG", "--no_auto_tune"],
    ],
)
def test_flags_have_two_spellings(flags: list[str]) -> None:
    line = parse("--config-path=x", *flags)
    assert (line.http.rest_port, line.log.log_level) == (9, "DEBUG")
    assert line.serving.no_auto_tune


def test_a_switch_does_not_take_the_model_as_its_value(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").touch()
    line = parse("--no_auto_tune", tmp_path)
    assert line.serving.no_auto_tune
    assert line.models.model_path == tmp_path


def test_the_repository_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVMS_MODEL_REPOSITORY_PATH", str(tmp_path))
    assert parse().models.config_file == tmp_path / "config.json"
    assert parse("--model_name", "org/m").models.served_path == tmp_path / "org/m"
    assert parse("--model_name=m", "--model_path=x").models.served_path == Path("x")
    assert parse("--model_repository_path=r").models.config_file == Path("r/config.json")
    assert parse("--config_path=c").models.config_file == Path("c")
    monkeypatch.setenv("OVMS_MODEL_REPOSITORY_PATH", "")
    with pytest.raises(SystemExit):
        parse()


def test_a_model_path_starts_at_the_repository_that_is_named() -> None:
    arguments = parse("--model_name=m", "--model_path=x", "--model_repository_path=r")
    assert arguments.models.served_path == Path("r/x")


def test_what_the_exporter_is_told(tmp_path: Path) -> None:
    flags = ["--weight-format=int4", "--cache_size", "2", "--tool_parser=hermes3"]
    arguments = parse(
        *["--source_model=org/m", "--model_repository_path", tmp_path, *flags],
        *["--dynamic_split_fuse=false", "--overwrite_models", "--pull"],
        "--target_device=GPU",
    )
    assert arguments.export.command(arguments.models, TEXT_GENERATION) == [
        "--source_model=org/m",
        "--model_name=org/m",
        f"--model_repository_path={tmp_path}",
        "--no_config_file",
        "--weight-format=int4",
        "--cache_size=2",
        "--tool_parser=hermes3",
        "--disable_dynamic_split_fuse",
        "--target_device=GPU",
        "--overwrite_models",
    ]
    assert arguments.models.served_path == tmp_path / "org/m"


def test_flags_of_a_model_without_a_graph(tmp_path: Path) -> None:
    flags = ["--nireq=3", "--batch_size=1:4", "--target_device=CPU", "--shape=(1,4)"]
    flags += ["--plugin_config", '{"NUM_STREAMS": 2}', "--layout", "NHWC:NCHW"]
    flags += ["--model_version_policy", '{"specific": {"versions": [1, 4]}}']
    (model,) = parse("--model_name=m", "--model_path", tmp_path, *flags).models.load_config().models
    assert model.classic == ClassicConfig(
        device="CPU",
        plugin_config='{"NUM_STREAMS": 2}',
        nireq=3,
        shape="(1,4)",
        batch_size="1:4",
        layout="NHWC:NCHW",
        version_policy=VersionPolicy(specific=(1, 4)),
    )


@pytest.mark.parametrize(
    ("flag", "problem"),
    [
        ("--nireq=-1", "--nireq must be an integer from 0"),
        ("--nireq=many", "--nireq must be an integer from 0"),
        ("--plugin_config=x", "--plugin_config must be an object"),
        ("--plugin_config={", "--plugin_config must be an object"),
        ("--plugin_config=" + '{"a":' * 5000, "--plugin_config must be an object"),
        ("--model_version_policy={}", "--model_version_policy must be"),
    ],
)
def test_bad_flags_of_a_model_without_a_graph(flag: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse("--model_name=m", "--model_path", tmp_path, flag).models.load_config()


def test_a_model_with_a_graph_takes_no_such_flags(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").write_text("")
    with pytest.raises(ConfigError, match="--nireq is for a model without a graph"):
        parse("--model_name=m", "--model_path", tmp_path, "--nireq=2").models.load_config()


def test_ovms_takes_plugin_config_for_a_graph(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "graph.pbtxt").write_text("")
    flags = ["--model_name=m", "--model_path", tmp_path, "--plugin_config={}"]
    (model,) = parse(*flags).models.load_config().models
    assert model.classic == ClassicConfig()
    assert "--plugin_config has no effect" in caplog.text


def test_the_name_of_a_source_folder(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    flags = [f"--source_model={tmp_path}/source/", "--model_repository_path=r"]
    assert parse(*flags).models.served_path == Path("r/source")
    assert parse(*flags, "--model_name=m").models.served_path == Path("r/m")


def test_cache_dir(tmp_path: Path) -> None:
    made = parse("--config_path=x", "--cache_dir", tmp_path / "a/b").serving.make_cache_dir()
    assert made == tmp_path / "a/b"
    assert made.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--cache_dir"):
        parse("--config_path=x", "--cache_dir", tmp_path / "file").serving.make_cache_dir()


def test_idle_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert not parse("--config_path=x").serving.residency.is_on
    line = parse("--config_path=x", "--idle_unload_timeout_seconds=60", "--memory_budget_gb=1.5")
    residency = line.serving.residency
    assert residency.is_on
    assert (residency.idle_unload_timeout_s, residency.memory_budget_bytes) == (60, 1_500_000_000)
    assert parse("--config_path=x", "--memory_budget_gb=1").serving.residency.is_on
    assert "not an amount of memory" in problem_of(capsys, "--memory_budget_gb=-1")


def test_a_group_is_for_one_model() -> None:
    (warning,) = parse("--config_path=x", "--group_name=g").warnings
    assert "config.json has it in each entry" in warning
    line = parse("--model_name=m", f"--model_path={Path.cwd()}", "--group_name=permanent")
    assert line.warnings == ()
    assert line.models.load_config().models[0].is_permanent


def test_adapters_of_the_single_model(tmp_path: Path) -> None:
    as_json = '{"name": "b", "path": "y", "base_model_name": "m"}'
    flags = ["--model_name=m", "--model_path=x", "--lora-modules", "a=/x", as_json]
    models = parse(*flags, "--lora_modules", "c=z=1").models
    assert models.lora_sources == (
        ("a", Path("/x")),
        ("b", Path.cwd() / "y"),
        ("c", Path.cwd() / "z=1"),
    )
    assert parse("--model_name=m", "--model_path=x").models.lora_sources == ()
