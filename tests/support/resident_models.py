"""Managers whose models may be unloaded, and requests to their models."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.fakes import REQUEST, TEXT, write_repository

from server.graph import Calculator, Contract, OpenContext, ProcessContext, Servables
from server.models.config import load_config
from server.models.model_manager import ModelManager
from server.models.residency.settings import ResidencySettings
from server.payloads import GenerationRequest

__all__ = ["ASKING_GRAPH", "AskingCalculator", "ask", "resident_manager", "status_of", "until"]


@asynccontextmanager
async def resident_manager(
    folder: Path,
    graphs: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[ModelManager]:
    """A manager that has loaded these graphs; `groups` has the group of a model."""
    config = write_repository(folder, graphs)
    document = json.loads(config.read_text())
    for entry in document["model_config_list"]:
        entry["config"]["group_name"] = (groups or {}).get(entry["config"]["name"], "")
    config.write_text(json.dumps(document))
    residency = ResidencySettings(**{"idle_unload_timeout_s": 3600.0, **settings})
    manager = ModelManager(load_config(config), settings=residency)
    await manager.load_all()
    try:
        yield manager
    finally:
        await manager.close(0)
        await manager.wait_for_reloads()


async def ask(manager: ModelManager, name: str, prompt: str = "hello") -> str:
    """The answer of a model."""
    request = GenerationRequest("id", prompt=prompt)
    async with manager.get(name).graph.start_run(request) as run:
        return "".join([chunk.text async for chunk in run])


def status_of(manager: ModelManager, name: str) -> dict[str, Any]:
    """What /v1/config says of the only version of a model."""
    (status,) = manager.status()[name]["model_version_status"]
    return dict(status)


async def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until `condition()` is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


class AskingCalculator(Calculator):
    """Asks the model `b` and gives its answer."""

    contract = Contract(inputs=(REQUEST,), outputs=(TEXT,))

    def open(self, cc: OpenContext) -> None:
        self._servables = cc.service(Servables)
        self._held = b"x" * (40 << 20)

    async def process(self, cc: ProcessContext) -> None:
        async for request in cc.input(REQUEST):
            async with self._servables.get("b", None).start_run(request) as run:
                async for chunk in run:
                    await cc.output(TEXT).send(chunk)


ASKING_GRAPH = """
input_stream: "GENERATION_REQUEST:in" output_stream: "TEXT:out"
node {
  calculator: "support.resident_models:AskingCalculator"
  input_stream: "GENERATION_REQUEST:in" output_stream: "TEXT:out"
}
"""
