"""What takes part in encoders.py: this server, openvino-genai's pipeline, and vLLM on the CPU."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import aiohttp
from contender import MODEL_NAME, BenchmarkError, Launch, OpenAIDialect
from contender_process import HOST, POLL_S, ContenderProcess
from server_contender import REPOSITORY
from vllm_contender import VllmContender


@dataclass(frozen=True)
class EmbeddingServer:
    """`server`, on a folder that `export_model embeddings_ov` made."""

    model_path: Path
    name: str = "server"
    dialect = OpenAIDialect("/v3/embeddings")

    def find_missing(self) -> str | None:
        """Nothing: it is this project."""
        return None

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """A config.json with the model's own graph."""
        models = [{"name": MODEL_NAME, "base_path": str(self.model_path.resolve())}]
        config_path = folder / "config.json"
        config_path.write_text(
            json.dumps({"model_config_list": [], "mediapipe_config_list": models})
        )
        command = [
            *(sys.executable, "-m", "server", "--config_path", str(config_path)),
            *("--rest_bind_address", HOST, "--rest_port", str(port), "--access_log", "off"),
        ]
        return Launch(command, {"PYTHONPATH": str(REPOSITORY)})

    def describe(self) -> dict[str, object]:
        """Its settings."""
        return asdict(self)


@dataclass(frozen=True)
class GenaiEmbedder:
    """TextEmbeddingPipeline behind genai_embedder.py, with an infer request for each stream."""

    model_path: Path
    pooling: str
    num_streams: int
    name: str = "openvino-genai"
    dialect = OpenAIDialect("/v1/embeddings")

    def find_missing(self) -> str | None:
        """The package."""
        return None if find_spec("openvino_genai") else "pip install openvino-genai"

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """The script with its settings as arguments."""
        script = Path(__file__).with_name("genai_embedder.py")
        settings = (str(self.model_path), self.pooling, str(self.num_streams), str(port))
        return Launch([sys.executable, str(script), *settings])

    def describe(self) -> dict[str, object]:
        """Its settings."""
        return asdict(self)


class VllmEmbedder(VllmContender):
    """`vllm serve` as a pooling server."""

    dialect = OpenAIDialect("/v1/embeddings")


def vllm_embedder(python: Path | None, source: Path, *, is_decoder: bool) -> VllmEmbedder:
    """vLLM for an encoder, or for a decoder that embeds."""
    # It does not start with a prefix cache for an encoder.
    flags = () if is_decoder else ("--no-enable-prefix-caching",)
    return VllmEmbedder(python, source, flags=("--runner", "pooling", *flags))


class EncoderProcess(ContenderProcess):
    """A contender that answers embeddings; it is ready once it has answered one."""

    async def ask(self, texts: Sequence[str]) -> None:
        """One request for each text, after each other. Raises BenchmarkError."""
        url = f"http://{HOST}:{self.port}{self.contender.dialect.path}"
        async with aiohttp.ClientSession() as session:
            for text in texts:
                body = {"model": MODEL_NAME, "input": text, "encoding_format": "base64"}
                async with session.post(url, json=body) as answer:
                    if answer.status != 200:
                        raise BenchmarkError(f"{self.name}: {answer.status} {await answer.text()}")
                    await answer.read()

    async def _wait_for_an_answer(self, deadline: float) -> None:
        assert self._process is not None
        while True:
            try:
                return await self.ask(["a"])
            except (OSError, aiohttp.ClientError, BenchmarkError) as error:
                problem = error
            if self._process.returncode is not None or time.perf_counter() > deadline:
                raise BenchmarkError(
                    f"{self.name}: not ready ({problem})\n{self.read_log_end()}"
                ) from problem
            await asyncio.sleep(POLL_S)
