"""config.json and config.yaml."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from server.errors import ConfigError, ModelLoadError
from server.models.classic_model import find_versions
from server.models.config import load_config, single_model_config
from server.models.loading.model_loading import check_model
from server.models.watched_files import WatchedFiles


def write(folder: Path, value: object, name: str = "config.json") -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def one_model(**config: Any) -> dict[str, Any]:
    return {"model_config_list": [{"config": {"name": "m", **config}}]}


@pytest.mark.parametrize(
    ("config", "base_path"),
    [
        ({}, "m"),
        ({"base_path": ""}, "m"),
        ({"base_path": "models/x"}, "models/x"),
        ({"base_path": "/models/x"}, "/models/x"),
    ],
)
def test_base_path_starts_at_the_file(
    tmp_path: Path, config: dict[str, str], base_path: str
) -> None:
    (model,) = load_config(write(tmp_path, one_model(**config))).models
    assert model.base_path == tmp_path / base_path
    assert model.graph_path == tmp_path / base_path / "graph.pbtxt"


def test_base_path_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, one_model())
    monkeypatch.chdir(tmp_path)
    (model,) = load_config(Path("config.json")).models
    assert model.base_path == tmp_path / "m"


def test_graph_path_starts_at_base_path(tmp_path: Path) -> None:
    (model,) = load_config(write(tmp_path, one_model(graph_path="sub/g.pbtxt"))).models
    assert model.graph_path == tmp_path / "m/sub/g.pbtxt"


def test_graph_may_be_in_version_folder_1(tmp_path: Path) -> None:
    (model,) = load_config(write(tmp_path, one_model())).models
    assert model.find_graph() is None
    versioned = tmp_path / "m/1/graph.pbtxt"
    versioned.parent.mkdir(parents=True)
    versioned.touch()
    assert model.find_graph() == versioned
    (tmp_path / "m/graph.pbtxt").touch()
    assert model.find_graph() == tmp_path / "m/graph.pbtxt"


def test_name_that_no_file_system_takes_is_no_graph(tmp_path: Path) -> None:
    (model,) = load_config(write(tmp_path, one_model(base_path="x" * 5000))).models
    assert model.find_graph() is None


def test_both_lists_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = {
        "model_config_list": [{"config": {"name": "a/b", "subconfig": "s.json"}}],
        "mediapipe_config_list": [{"name": "c", "base_path": "d"}],
    }
    first, second = load_config(write(tmp_path, config)).models
    assert (first.name, first.is_graph) == ("a/b", False)
    assert (second.name, second.is_graph, second.base_path) == ("c", True, tmp_path / "d")
    assert caplog.messages[0].endswith(
        f"model_config_list[0].config: subconfig: there is no file {tmp_path}/a/b/s.json"
    )


def test_models_that_are_listed_beside_a_graph(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, listed in (("one", "dummy1"), ("two", "dummy2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph.pbtxt").touch()
        entry = {"name": listed, "base_path": listed, "shape": "(1,10)"}
        config = {
            "model_config_list": [{"config": entry}],
            "mediapipe_config_list": [{"name": "x"}],
        }
        write(tmp_path / name, config)
    (tmp_path / "one" / "config.json").rename(tmp_path / "one" / "subconfig.json")
    (tmp_path / "two" / "config.json").rename(tmp_path / "two" / "mine.json")
    config = {
        "model_config_list": [
            {"config": {"name": "one"}},
            {"config": {"name": "two", "subconfig": "mine.json"}},
            {"config": {"name": "dummy2", "base_path": "elsewhere"}},
        ]
    }
    found = load_config(write(tmp_path, config))
    assert [(model.name, model.base_path) for model in found.models] == [
        ("one", tmp_path / "one"),
        ("two", tmp_path / "two"),
        ("dummy2", tmp_path / "elsewhere"),
        ("dummy1", tmp_path / "one" / "dummy1"),
    ]
    assert found.models[3].classic.shape == "(1,10)"
    assert found.subconfigs == (tmp_path / "one" / "subconfig.json", tmp_path / "two" / "mine.json")
    assert "'dummy2' is listed twice" in caplog.text
    (tmp_path / "one" / "subconfig.json").write_text("{")
    with pytest.raises(ConfigError, match="one/subconfig.json: not JSON"):
        load_config(tmp_path / "config.json")


def test_a_graph_that_lists_itself(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").touch()
    path = write(tmp_path, one_model(base_path=str(tmp_path)))
    (tmp_path / "subconfig.json").write_bytes(path.read_bytes())
    assert len(load_config(path).models) == 1


def test_first_of_two_equal_names_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = one_model(base_path="first") | {"mediapipe_config_list": [{"name": "m"}]}
    (model,) = load_config(write(tmp_path, config)).models
    assert model.base_path == tmp_path / "first"
    assert "mediapipe_config_list[0]: 'm' is listed twice" in caplog.text


def test_keys_without_effect_on_a_graph_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/graph.pbtxt").touch()
    config = one_model(batch_size="auto", shape={}, nireq=2, target_device="CPU", mean="[1]")
    assert load_config(write(tmp_path, config)).models
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("graph: batch_size, mean, nireq, shape, target_device")


def test_other_parts_of_model_servers_file_may_be_there_empty(tmp_path: Path) -> None:
    config = {
        "model_config_list": [],
        "pipeline_config_list": [],
        "custom_loader_config_list": [],
        "monitoring": {"metrics": {"enable": True, "metrics_list": ["ovms_streams"]}},
    }
    assert load_config(write(tmp_path, config)).models == ()
    assert load_config(write(tmp_path, config)).metrics == ("ovms_streams",)
    del config["monitoring"]
    assert load_config(write(tmp_path, config)).metrics is None


@pytest.mark.parametrize(
    ("metrics", "problem"),
    [
        ({"enable": 1}, "monitoring.metrics.enable must be true or false, found"),
        ({"enabled": True}, "monitoring.metrics.enabled is unknown"),
        ({"enable": True, "metrics_list": "ovms_streams"}, "metrics_list must be a list of names"),
        (
            {"enable": True, "metrics_list": ["ovms_stream"]},
            "'ovms_stream' is no metric; poss",
        ),
        ({"enable": False, "metrics_list": ["ovms_streams"]}, 'metrics_list needs "enable": true'),
    ],
)
def test_metrics_that_cannot_be_shown(
    tmp_path: Path, metrics: dict[str, Any], problem: str
) -> None:
    config = {"model_config_list": [], "monitoring": {"metrics": metrics}}
    with pytest.raises(ConfigError, match=re.escape(problem)):
        load_config(write(tmp_path, config))


@pytest.mark.parametrize("name", ["config.yaml", "config.yml"])
def test_yaml(tmp_path: Path, name: str) -> None:
    text = "model_config_list:\n- config:\n    name: m\n    base_path: x\n"
    (model,) = load_config(write(tmp_path, text, name)).models
    assert model.base_path == tmp_path / "x"


def test_folder_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, one_model())
    assert load_config(tmp_path).models[0].name == "m"


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(one_model()), encoding="utf-8-sig")
    assert load_config(tmp_path).models[0].name == "m"


BAD_FILES = {
    "": "empty",
    " \n": "empty",
    "{": "not JSON at line 1, column 2",
    '{"model_config_list": [],\n}': "not JSON at line 2, column 1",
    "[]": "the file must be an object, found a list",
    "null": "the file must be an object, found null",
    "NaN": "NaN is not JSON",
    '{"model_config_list": [NaN]}': "NaN is not JSON",
    "[" * 100_000: "nested too deeply",
    "1" * 5000: "not usable JSON",
    "{}": "model_config_list is missing",
    '{"model_config_list": {}}': "model_config_list must be a list, found an object",
    '{"model_config_list": null}': "model_config_list must be a list, found null",
    '{"model_config_lst": []}': "model_config_lst is unknown; did you mean 'model_config_list'",
    '{"model_config_list": [1]}': "model_config_list[0] must be an object, found the number 1",
    '{"model_config_list": [{}]}': "model_config_list[0].config is missing",
    '{"model_config_list": [{"config": []}]}': "model_config_list[0].config must be an object",
    '{"model_config_list": [{"config": {}}]}': "model_config_list[0].config.name is missing",
    '{"model_config_list": [{"conf": {}}]}': "[0].conf is unknown; did you mean 'config'?",
    '{"mediapipe_config_list": [{"name": "a", "shape": 1}]}': "[0].shape is unknown",
    '{"pipeline_config_list": [1], "model_config_list": []}': "OVMS's DAG pipelines are not here",
    '{"custom_loader_config_list": [1]}': "OVMS's custom loaders are not here yet",
    '{"custom_node_library_config_list": [1]}': "OVMS's custom node libraries are not here yet",
    '{"model_config_list": [], "monitoring": 1}': "monitoring must be an object",
}


@pytest.mark.parametrize("text", BAD_FILES, ids=lambda text: text[:40])
def test_bad_file(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert BAD_FILES[text] in str(error.value)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"name": 5}, "name must be a string, found the number 5"),
        ({"name": True}, "name must be a string, found true"),
        ({"name": 10**400}, "name must be a string, found a huge number"),
        ({"name": ""}, "name is empty"),
        ({"name": "a\0b"}, "name holds a character that cannot be used"),
        ({"name": "\ud800"}, "name holds a character that cannot be used"),
        ({"base_path": None}, "base_path must be a string, found null"),
        ({"base_path": "s3://bucket/m"}, "base_path is 's3://bucket/m'; OVMS's remote storage is"),
        ({"base_path": ["x"]}, "base_path must be a string, found a list"),
        ({"graph_path": {}}, "graph_path must be a string, found an object"),
        ({"subconfig": 1.5}, "subconfig must be a string, found the number 1.5"),
        ({"base_pth": "x"}, "base_pth is unknown; did you mean 'base_path'?"),
    ],
)
def test_bad_entry(tmp_path: Path, config: dict[str, Any], problem: str) -> None:
    entries = [{"config": {"name": "ok"}}, {"config": {"name": "m", **config}}]
    path = write(tmp_path, {"model_config_list": entries})
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert f"model_config_list[1].config.{problem}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not YAML at line"),
        ("model_config_list: .nan", "must be a list, found the number nan"),
        ("1: 2", "1 is unknown"),
        ("2020-01-01", "must be an object"),
        ("a: \0", "not usable YAML"),
        ("!!python/object:os.system {}", "not YAML at line 1"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(write(tmp_path, text, "config.yaml"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.json: cannot be read: No such file"):
        load_config(tmp_path / "nothing.json")


def test_path_that_no_file_system_takes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        load_config(tmp_path / ("x" * 300))


def test_folder_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds none of config\.json"):
        load_config(tmp_path)


def test_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ConfigError, match="not UTF-8 at byte 7"):
        load_config(tmp_path)


def test_endless_file() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: cannot be read: is a device; a regular file"):
        load_config(Path("/dev/zero"))


def test_single_model(tmp_path: Path) -> None:
    (model,) = single_model_config("m", tmp_path).models
    assert (model.name, model.base_path) == ("m", tmp_path)


def test_single_model_without_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        single_model_config("m", tmp_path / "x")


@pytest.mark.parametrize("other", ["graph.pbtxt", "1/graph.pbtxt", "openvino_model.xml"])
def test_nothing_takes_the_place_of_a_graph_that_is_named(tmp_path: Path, other: str) -> None:
    path = tmp_path / "m" / other
    path.parent.mkdir(parents=True)
    path.write_text("")
    config = load_config(write(tmp_path, one_model(graph_path="laud.pbtxt")))
    (model,) = find_versions(config).models
    with pytest.raises(ModelLoadError, match=r"m/laud\.pbtxt: no such file; correct graph_path"):
        check_model(model, WatchedFiles())
