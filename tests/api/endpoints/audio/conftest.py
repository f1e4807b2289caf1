"""A server with a tiny Whisper and a tiny SpeechT5."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from support.fakes import write_repository
from support.serving import Server, running_server
from support.speech_graphs import speaker_graph, transcriber_graph

from server.models.config import load_config
from server.models.model_manager import ModelManager

VOICES = """voices: [
        { name: "ann", path: "ann.bin" },
        { name: "bob" path: "bob.bin" }
      ],
      speed_max: 3.0"""


@pytest.fixture(scope="session")
def speech_repository(speech_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    models = folder / "models"
    shutil.copytree(speech_models / "speecht5", models / "speecht5")
    graphs = {
        "whisper": transcriber_graph(speech_models),
        "no-words": transcriber_graph(speech_models, "max_num_queued_requests: 1", words="false"),
        "speech": speaker_graph(models, VOICES),
    }
    write_repository(folder, graphs)
    # Of `ann` the graph has another one.
    beside = models / "speecht5" / "voices"
    beside.mkdir()
    (beside / "broken.bin").write_bytes(b"12345")
    places = [folder / "speech" / "ann", folder / "speech" / "bob", beside / "ann", beside / "cat"]
    for number, path in enumerate(places):
        embedding = np.random.default_rng(number).normal(size=512)
        embedding.astype("<f4").tofile(path.with_suffix(".bin"))
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(speech_repository: Path) -> AsyncIterator[Server]:
    """One for all tests of a file: nothing in them changes a model."""
    manager = ModelManager(load_config(speech_repository / "config.json"))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with server.openai() as client:
        yield client
