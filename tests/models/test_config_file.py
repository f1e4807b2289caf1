import json
import multiprocessing
from pathlib import Path

import pytest

from server.errors import ConfigError
from server.models.config_file import ConfigFile


def read(path: Path) -> dict[str, list[dict[str, object]]]:
    return json.loads(path.read_text())


def test_file_and_folder_are_created(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "config.json"
    ConfigFile(path).add("org/m", tmp_path / "a" / "models" / "org" / "m")
    entry = {"name": "org/m", "base_path": "../models/org/m"}
    assert read(path) == {"mediapipe_config_list": [], "model_config_list": [{"config": entry}]}
    assert path.read_text().startswith('{\n    "mediapipe_config_list": []')
    assert [item.name for item in path.parent.iterdir()] == ["config.json"]


def test_everything_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    document = {
        "monitoring": {"metrics": {"enable": True}},
        "model_config_list": [
            {"config": {"name": "other", "base_path": "/x", "nireq": 2}},
            {"config": {"name": "m", "graph_path": "g.pbtxt", "base_path": "old"}},
        ],
        "mediapipe_config_list": [{"name": "legacy", "base_path": "y"}],
    }
    path.write_text(json.dumps(document))
    ConfigFile(path).add("m", tmp_path / "new")
    document["model_config_list"][1]["config"]["base_path"] = "new"
    assert read(path) == document
    assert list(read(path)) == list(document)


def test_legacy_entry_is_updated_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"mediapipe_config_list": [{"name": "m", "base_path": "old"}]}')
    ConfigFile(path).add("m", tmp_path / "new")
    assert read(path) == {"mediapipe_config_list": [{"name": "m", "base_path": "new"}]}


def test_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real" / "config.json"
    real.parent.mkdir()
    real.write_text('{"model_config_list": []}')
    link = tmp_path / "config.json"
    link.symlink_to(real)
    ConfigFile(link).add("m", tmp_path / "models" / "m")
    assert link.is_symlink()
    assert read(real)["model_config_list"][0]["config"]["base_path"] == "../models/m"


def test_mode_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_config_list": []}')
    path.chmod(0o640)
    ConfigFile(path).add("m", tmp_path / "m")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_config_list": {}}', '{"typo": []}'])
def test_unusable_file_is_not_touched(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        ConfigFile(path).add("m", tmp_path / "m")
    assert path.read_text() == text


def test_yaml_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only JSON"):
        ConfigFile(tmp_path / "config.yaml").check()
    with pytest.raises(ConfigError, match="is a folder"):
        ConfigFile(tmp_path).check()


def add(path: Path, i: int) -> None:
    for k in range(5):
        ConfigFile(path).add(f"m{i}-{k}", path.parent / f"m{i}-{k}")


def test_exports_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=add, args=(path, i)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read(path)["model_config_list"]) == 20
