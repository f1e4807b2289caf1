"""demos/python_nodes: its graphs, its model and its client."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

from support.grpc_serving import running_grpc

from server.models.config import load_config
from server.models.model_manager import ModelManager

DEMO = Path(__file__).parents[2] / "demos" / "python_nodes"


async def run(*command: object) -> str:
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


async def test_the_client_prints_what_the_page_says(tmp_path: Path) -> None:
    folder = tmp_path / "python_nodes"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("vowel_model", "__pycache__"))
    await run(folder / "make_model.py", folder)
    manager = ModelManager(load_config(folder / "config.json"))
    await manager.load_all()
    try:
        async with running_grpc(manager) as address:
            printed = await run(folder / "client.py", "--url", address)
    finally:
        await manager.close(0)
    expected = (DEMO / "README.md").read_text().partition("It prints\n")[2].partition("[Python")[0]
    assert printed.split() == expected.split()
