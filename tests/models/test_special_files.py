"""FIFOs and the like in place of the files of a configuration or a model: refused at once."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_repository

from server.errors import ConfigError, ReloadError
from server.models.bundled import find_bundled_model
from server.models.config import load_config
from server.models.model_manager import ModelManager

TIMEOUT_S = 10


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 * 2**30)


REPLACEMENTS: list[tuple[Callable[[Path], None], str]] = [
    (os.mkfifo, "is a FIFO"),
    (to_device, "is a device"),
    (Path.mkdir, "holds none of config.json"),
    (to_sparse, "larger than 16 MiB"),
]


@pytest.mark.parametrize(("replace", "problem"), REPLACEMENTS)
async def test_instead_of_the_configuration(
    tmp_path: Path, replace: Callable[[Path], None], problem: str
) -> None:
    config = write_repository(tmp_path, {"m": echo_graph()})
    manager = ModelManager(load_config(config))
    await manager.load_all()
    text = config.read_text()
    config.unlink()
    replace(config)
    async with asyncio.timeout(TIMEOUT_S):
        with pytest.raises(ConfigError, match=problem):
            await manager.reload(retry_failed=True)
    assert manager.get("m").is_available
    # The next reload finds no lock held.
    config.rmdir() if config.is_dir() else config.unlink()
    config.write_text(text)
    async with asyncio.timeout(TIMEOUT_S):
        assert await manager.reload(retry_failed=True) is False
    await manager.close(0)


@pytest.mark.parametrize(
    "name",
    [
        "graph.pbtxt",
        "config.json",
        "chat_template.jinja",
        "tokenizer_config.json",
        "openvino_model.xml",
        "openvino_model.bin",
    ],
)
async def test_instead_of_a_file_of_a_model(tmp_path: Path, name: str) -> None:
    bundled = find_bundled_model("tiny_chat")
    assert bundled is not None
    shutil.copytree(bundled, tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    os.mkfifo(tmp_path / "m" / name)
    config = tmp_path / "config.json"
    config.write_text('{"model_config_list": [{"config": {"name": "m", "base_path": "m"}}]}')
    async with asyncio.timeout(TIMEOUT_S):
        manager = ModelManager(load_config(config))
        await manager.load_all()
        with pytest.raises(ReloadError, match="FIFO|there is neither|regular file"):
            await manager.reload(retry_failed=True)
        await manager.close(0)


async def test_instead_of_a_calculators_file(tmp_path: Path) -> None:
    graph = echo_graph().replace('calculator: "', 'calculator: "./own.py:')
    config = write_repository(tmp_path, {"m": graph})
    os.mkfifo(tmp_path / "m" / "own.py")
    async with asyncio.timeout(TIMEOUT_S):
        manager = ModelManager(load_config(config))
        await manager.load_all()
        assert not manager.available_models()
        await manager.close(0)
