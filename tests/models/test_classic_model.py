"""Models without a graph: their keys of the configuration, their versions, their reload."""

import asyncio
import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.fakes import echo_graph, write_graph
from support.openvino_models import (
    add_model,
    counter_model,
    image_model,
    logarithm_model,
    write_model,
)
from support.serving import Server, running_server

from server.cli.check import check_models
from server.errors import ConfigError, ModelNotFoundError, ModelNotReadyError, ReloadError
from server.models.classic_config import NO_PREPROCESSING, ClassicConfig, VersionPolicy
from server.models.config import load_config, single_model_config
from server.models.model_manager import ModelManager, ServedModel
from server.payloads import InferRequest
from server.tensors import ModelSignature, Tensor


def write_config(folder: Path, **keys: Any) -> Path:
    """config.json with one entry, `m`."""
    entry = {"config": {"name": "m", "target_device": "CPU", **keys}}
    (folder / "config.json").write_text(json.dumps({"model_config_list": [entry]}))
    return folder


async def manager_of(folder: Path, **keys: Any) -> ModelManager:
    manager = ModelManager(load_config(write_config(folder, **keys)), drain_timeout_s=1)
    await manager.load_all()
    return manager


def versions_of(manager: ModelManager) -> dict[str, str]:
    """The state of each version, as /v1/config shows it."""
    statuses = manager.status()["m"]["model_version_status"]
    return {status["version"]: status["state"] for status in statuses}


def inputs_of(model: ServedModel) -> dict[str, tuple[int, ...]]:
    signature = model.graph.find_side_packet(ModelSignature)
    assert signature is not None
    return {tensor.name: tensor.shape for tensor in signature.inputs}


async def ask(model: ServedModel, **inputs: float) -> list[float]:
    """The first output of a model whose inputs have one element."""
    tensors = [Tensor(k, "FP32", (1,), struct.pack("<f", v)) for k, v in inputs.items()]
    async with model.graph.start_run(InferRequest(tuple(tensors))) as run:
        response = await anext(run)
    data = response.outputs[0].data
    return [value for (value,) in struct.iter_unpack("<f", data)]


async def test_a_model_in_its_folder_itself_is_version_1(tmp_path: Path) -> None:
    write_model(tmp_path / "m", add_model())
    manager = await manager_of(tmp_path)
    assert versions_of(manager) == {"1": "AVAILABLE"}
    assert inputs_of(manager.get("m")) == {"x": (-1, 3), "y": (-1, 3)}
    assert manager.get("m", "1") is manager.get("m")
    await manager.close(0)
    assert versions_of(manager) == {"1": "END"}


async def test_a_graph_wins_over_the_model_beside_it(tmp_path: Path) -> None:
    write_graph(tmp_path / "m", echo_graph())
    write_model(tmp_path / "m", add_model())
    manager = await manager_of(tmp_path)
    assert manager.get("m").graph.input.name == "GENERATION_REQUEST"
    await manager.close(0)


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        (None, [12]),
        ({"latest": {}}, [12]),
        ({"latest": {"num_versions": 2}}, [3, 12]),
        ({"latest": {"num_versions": 99}}, [1, 3, 12]),
        ({"all": {}}, [1, 3, 12]),
        ({"specific": {"versions": [3, 1, 3]}}, [1, 3]),
    ],
)
async def test_version_policies(
    tmp_path: Path, policy: Mapping[str, Any] | None, served: list[int]
) -> None:
    for name in ("1", "3", "12"):
        write_model(tmp_path / "m" / name, add_model())
    for name in ("0", "007", "-1", "1.5", "v2"):
        (tmp_path / "m" / name).mkdir()
    (tmp_path / "m" / "99").write_text("a file")
    keys = {} if policy is None else {"model_version_policy": policy}
    manager = await manager_of(tmp_path, **keys)
    assert versions_of(manager) == {str(version): "AVAILABLE" for version in served}
    assert manager.get("m").version == str(served[-1])
    assert [model.name for model in manager.available_models()] == ["m"]
    assert manager.served_names() == ("m",)
    for version in served:
        assert manager.get("m", str(version)).version == str(version)
    possible = ", ".join(map(str, served))
    with pytest.raises(ModelNotFoundError, match=f"has no version '2'; versions: {possible}"):
        manager.get("m", "2")
    await manager.close(0)


async def test_a_specific_version_that_is_not_there(tmp_path: Path) -> None:
    write_model(tmp_path / "m/1", add_model())
    manager = await manager_of(tmp_path, model_version_policy={"specific": {"versions": [1, 4]}})
    assert versions_of(manager) == {"1": "AVAILABLE", "4": "LOADING"}
    assert manager.get("m").version == "1"
    with pytest.raises(ModelNotReadyError, match="m/4: no such folder"):
        manager.get("m", "4")
    await manager.close(0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("nireq", -1, "nireq must be an integer from 0, found the number -1"),
        ("nireq", True, "nireq must be an integer from 0, found true"),
        ("target_device", 5, "target_device must be a string, found the number 5"),
        ("plugin_config", "{}", "plugin_config must be an object, found the string '{}'"),
        ("shape", [1, 3], "shape must be a string or an object, found a list"),
        ("batch_size", 1.5, "batch_size must be an integer from 0, found the number 1.5"),
        ("model_version_policy", "all", 'model_version_policy must be {"all": {}}'),
        ("model_version_policy", {"all": {}, "latest": {}}, "model_version_policy must be"),
        ("model_version_policy", {"all": {"x": 1}}, "model_version_policy must be"),
        ("model_version_policy", {"latest": {"num": 1}}, "model_version_policy must be"),
        ("model_version_policy", {"specific": {"versions": []}}, "model_version_policy must be"),
        (
            "model_version_policy",
            {"specific": {"versions": [0]}},
            "model_version_policy must hold integers from 1, found the number 0",
        ),
        (
            "model_version_policy",
            {"latest": {"num_versions": "2"}},
            "model_version_policy must hold integers from 1, found the string '2'",
        ),
    ],
)
def test_keys_of_the_wrong_type(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write_config(tmp_path, **{key: value}))
    assert f"config.json: model_config_list[0].config.{message}" in str(error.value)


def test_keys_of_the_right_type() -> None:
    entry = {
        "target_device": "GPU.1",
        "plugin_config": {"NUM_STREAMS": 2},
        "nireq": 4,
        "shape": {"x": "(1,3)"},
        "batch_size": 0,
        "layout": "NHWC:NCHW",
        "model_version_policy": {"all": {}},
        "allow_cache": False,
        "mean": "[1,2,3]",
    }
    assert ClassicConfig.parse(entry) == ClassicConfig(
        device="GPU.1",
        plugin_config='{"NUM_STREAMS": 2}',
        nireq=4,
        shape='{"x": "(1,3)"}',
        batch_size="0",
        layout="NHWC:NCHW",
        version_policy=VersionPolicy(num_latest=0),
        problems=(f"mean: {NO_PREPROCESSING}",),
    )


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        ({"batch_size": 4}, (4, 3, 4, 5)),
        ({"batch_size": "auto"}, (-1, 3, 4, 5)),
        ({"shape": "(2,3,6,7)"}, (2, 3, 6, 7)),
        ({"shape": {"image": "(1,3,1:9,-1)"}}, (1, 3, -1, -1)),
        ({"layout": {"image": "NHWC:NCHW"}}, (1, 4, 5, 3)),
    ],
)
async def test_keys_that_shape_the_model(
    tmp_path: Path, keys: dict[str, Any], shape: tuple[int, ...]
) -> None:
    write_model(tmp_path / "m", image_model())
    manager = await manager_of(tmp_path, **keys)
    assert inputs_of(manager.get("m")) == {"image": shape}
    await manager.close(0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mean": "[1]"}, "mean: OVMS's preprocessing is not here yet"),
        ({"stateful": True}, "stateful: OVMS's stateful models are not here yet"),
        ({"custom_loader_options": {"a": 1}}, "OVMS's custom loaders are not here yet"),
        ({"target_device": "TPU"}, "for device 'TPU'"),
        ({"plugin_config": {"NO_SUCH_KEY": "7"}}, "NO_SUCH_KEY"),
        ({"plugin_config": {"X": [1]}}, "it must be a string, number or boolean"),
        ({"nireq": 5000}, "nireq is 5000; possible: 0 to 1024"),
        ({"shape": '("1")'}, "shape has the length"),
    ],
)
async def test_a_bad_key_fails_only_its_model(
    tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    write_model(tmp_path / "m", add_model())
    manager = await manager_of(tmp_path, **keys)
    assert message in manager.unready_models()["m"]
    assert versions_of(manager) == {"1": "LOADING"}
    with pytest.raises(ModelNotReadyError) as error:
        manager.get("m")
    assert message in str(error.value)
    await manager.close(0)


async def test_versions_come_and_go(tmp_path: Path) -> None:
    write_model(tmp_path / "m/1", logarithm_model())
    manager = await manager_of(tmp_path, model_version_policy={"latest": {"num_versions": 2}})
    first = manager.get("m").graph
    assert not manager.find_changes()

    write_model(tmp_path / "m/2", counter_model())
    assert {path.name for path, _ in manager.find_changes()} == {"2"}
    assert await manager.reload(retry_failed=False)
    assert versions_of(manager) == {"1": "AVAILABLE", "2": "AVAILABLE"}
    assert await ask(manager.get("m"), x=4.0) == [4.0]
    assert await ask(manager.get("m", "1"), x=1.0) == [0.0]
    assert manager.get("m", "1").graph is first
    assert not manager.find_changes()

    write_model(tmp_path / "m/3", counter_model())
    await manager.reload(retry_failed=False)
    assert manager.get("m").version == "3"
    assert versions_of(manager)["1"] in ("UNLOADING", "END")
    with pytest.raises(ModelNotFoundError, match="has no version '1'; versions: 2, 3"):
        manager.get("m", "1")

    shutil.rmtree(tmp_path / "m/3")
    await manager.reload(retry_failed=False)
    assert manager.get("m").version == "2"
    assert list(versions_of(manager)) == ["1", "2", "3"]
    await manager.close(0)
    assert set(versions_of(manager).values()) == {"END"}


async def test_a_failed_version_leaves_the_previous_one(tmp_path: Path) -> None:
    write_model(tmp_path / "m/1", add_model())
    manager = await manager_of(tmp_path, model_version_policy={"all": {}})
    (tmp_path / "m/2").mkdir()
    (tmp_path / "m/2/openvino_model.xml").write_text("half a mod")
    with pytest.raises(ReloadError, match="m version 2: "):
        await manager.reload(retry_failed=False)
    assert versions_of(manager) == {"1": "AVAILABLE", "2": "LOADING"}
    assert manager.get("m").version == "1"
    write_model(tmp_path / "m/2", add_model())
    await manager.reload(retry_failed=False)
    assert manager.get("m").version == "2"
    await manager.close(0)


async def test_the_only_version_serves_until_another_can(tmp_path: Path) -> None:
    write_model(tmp_path / "m/1", counter_model())
    manager = await manager_of(tmp_path)
    (tmp_path / "m/2").mkdir()
    (tmp_path / "m/2/openvino_model.xml").write_text("half a mod")
    with pytest.raises(ReloadError, match="m version 2: "):
        await manager.reload(retry_failed=False)
    assert versions_of(manager) == {"1": "AVAILABLE", "2": "LOADING"}
    assert await ask(manager.get("m"), x=4.0) == [4.0]
    write_model(tmp_path / "m/2", counter_model())
    assert await manager.reload(retry_failed=False)
    assert versions_of(manager)["1"] in ("UNLOADING", "END")
    assert manager.get("m").version == "2"
    await manager.close(0)


async def test_a_changed_policy_loads_nothing_anew(tmp_path: Path) -> None:
    write_model(tmp_path / "m/1", add_model())
    write_model(tmp_path / "m/2", add_model())
    manager = await manager_of(tmp_path)
    graph = manager.get("m").graph
    write_config(tmp_path, model_version_policy={"all": {}})
    await manager.reload(retry_failed=False)
    assert versions_of(manager) == {"1": "AVAILABLE", "2": "AVAILABLE"}
    assert manager.get("m").graph is graph
    await manager.close(0)


async def test_requests_go_on_while_versions_change(tmp_path: Path) -> None:
    write_model(tmp_path / "m/1", counter_model())
    manager = await manager_of(tmp_path)
    async with running_server(manager) as server:
        stop = asyncio.Event()
        asking = [asyncio.create_task(_ask_until(stop, server)) for _ in range(4)]
        for version in (2, 3, 4):
            write_model(tmp_path / "m" / str(version), counter_model())
            await manager.reload(retry_failed=False)
        stop.set()
        answered = [await task for task in asking]
    assert "4" in set().union(*answered)


async def _ask_until(stop: asyncio.Event, server: Server) -> set[str]:
    versions = set()
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [2]}]}
    while True:
        is_last = stop.is_set()
        status, answer = await server.post("/v2/models/m/infer", body)
        assert (status, answer["outputs"][0]["data"]) == (200, [2.0])
        versions.add(answer["model_version"])
        if is_last:
            return versions


async def test_status_and_metadata_over_http(tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_model(tmp_path / "m" / version, add_model())
    manager = await manager_of(tmp_path, model_version_policy={"all": {}})
    async with running_server(manager) as server:
        async with server.http.get("/v1/config") as response:
            statuses = (await response.json())["m"]["model_version_status"]
        assert [(each["version"], each["state"]) for each in statuses] == [
            ("1", "AVAILABLE"),
            ("2", "AVAILABLE"),
        ]
        async with server.http.get("/v2/models/m/versions/1") as response:
            assert (await response.json())["versions"] == ["1", "2"]
        async with server.http.get("/v3/models") as response:
            assert [each["id"] for each in (await response.json())["data"]] == ["m"]


async def test_a_text_request_is_told_that_there_is_no_graph(tmp_path: Path) -> None:
    write_model(tmp_path / "m", add_model())
    manager = await manager_of(tmp_path)
    async with running_server(manager) as server:
        status, answer = await server.post("/v3/completions", {"model": "m", "prompt": "Hi"})
    assert status == 400
    assert answer["error"]["message"].endswith(
        "from InferRequest to InferResponse, not from GenerationRequest to TextChunk; "
        "its folder has no graph.pbtxt"
    )


async def test_a_single_model_from_the_command_line(tmp_path: Path) -> None:
    write_model(tmp_path / "m/3", counter_model())
    manager = ModelManager(single_model_config("m", tmp_path / "m"), drain_timeout_s=1)
    await manager.load_all()
    assert versions_of(manager) == {"3": "AVAILABLE"}
    write_model(tmp_path / "m/4", counter_model())
    assert await manager.reload(retry_failed=False)
    assert await ask(manager.get("m", "4"), x=2.0) == [2.0]
    await manager.close(0)


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "m/7", add_model())
    assert check_models(load_config(write_config(tmp_path))) == 0
    assert "m version 7: ok" in capsys.readouterr().out
    assert check_models(load_config(write_config(tmp_path, shape="(x)"))) == 1
    assert "shape has the length 'x'" in capsys.readouterr().out
    assert check_models(load_config(write_config(tmp_path, target_device="QPU"))) == 1
    assert "there is no QPU here; available devices: CPU" in capsys.readouterr().out
    [file] = (tmp_path / "m/7").glob("*.xml")
    file.write_text("<net>")
    assert check_models(load_config(write_config(tmp_path))) == 1
    assert f"{file}: " in capsys.readouterr().out
    shutil.rmtree(tmp_path / "m")
    assert check_models(load_config(write_config(tmp_path))) == 1
    assert "m: no such folder" in capsys.readouterr().out
