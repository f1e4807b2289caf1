"""A repository with a model of every task, listed by the exporter, and a request for each."""

import base64
import io
import json
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import cohere
import httpx
import numpy as np
import tritonclient.grpc as triton
from PIL import Image
from support.server_process import ROOT, ServerProcess
from support.wav_files import wav

BUNDLED = ROOT / "server" / "bundled_models"
# Name of the model, task of the export, and further flags.
EXPORTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "chat": ("text_generation", ("--cache_size", "1")),
    "embedder": ("embeddings_ov", ()),
    "reranker": ("rerank_ov", ()),
    "whisper": ("speech2text", ("--enable_word_timestamps",)),
    "voice": ("text2speech", ("--speaker_name", "anna", "--speaker_path", "anna.bin")),
    "painter": ("image_generation", ()),
}
# The script, once for each command, in one process: each would take seconds to start.
RUN_EXPORTS = """
import json, sys
from export_models.export_model import main
sys.exit(any([main(command) for command in json.loads(sys.argv[1])]))
"""
NAMES = (*EXPORTS, "uppercase")
DOCUMENTS = ("It is 14 degrees and rainy in London.", "A cow says moo.", "7 + 8 = 15.")


def write_repository(folder: Path, speech_models: Path, sd_model: Path) -> Path:
    """Export a model of each task from what it was converted to; the config.json of all."""
    (folder / "anna.bin").write_bytes(bytes(512 * 4))
    sources = {
        "chat": BUNDLED / "tiny_chat",
        "embedder": BUNDLED / "tiny_embedder",
        "reranker": BUNDLED / "tiny_reranker",
        "whisper": speech_models / "whisper",
        "voice": speech_models / "speecht5",
        "painter": sd_model,
    }
    commands = []
    for name, (task, flags) in EXPORTS.items():
        # The model lies beside its graph, as after a conversion.
        model = folder / "models" / name
        measured = (".auto_tune.json", ".step_sizes.json")
        ignored = shutil.ignore_patterns("graph.pbtxt", *measured)
        shutil.copytree(sources[name], model, ignore=ignored)
        command = [task, "--source_model", str(model), "--model_name", name, *flags]
        commands.append([*command, "--plugin_config", '{"INFERENCE_PRECISION_HINT": "f32"}'])
    program = [sys.executable, "-c", RUN_EXPORTS, json.dumps(commands)]
    subprocess.run(program, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(ROOT / "demos/python_nodes/uppercase", folder / "models" / "uppercase")
    config = folder / "config.json"
    listed = json.loads(config.read_text())
    entry = {"config": {"name": "uppercase", "base_path": "models/uppercase"}}
    listed["model_config_list"].append(entry)
    config.write_text(json.dumps(listed))
    return config


class Asker:
    """One request of each task through published clients; each checks its answer."""

    def __init__(self, server: ServerProcess, speech_models: Path, voice: str = "anna") -> None:
        self._voice = voice
        self._openai = server.openai()
        self._url = server.url
        self._grpc_address = server.grpc_address
        heard = json.loads((speech_models / "source/whisper/heard.json").read_text())
        self._heard = heard[0]

    @property
    def requests(self) -> dict[str, Callable[[], None]]:
        """By the names of the models."""
        return {
            "chat": self.chat,
            "embedder": self.embed,
            "reranker": self.rerank,
            "whisper": self.transcribe,
            "voice": self.speak,
            "painter": self.paint,
            "uppercase": self.uppercase,
        }

    def chat(self) -> None:
        question = {"role": "user", "content": "What is the capital of France?"}
        answer = self._openai.chat.completions.create(
            model="chat", messages=[question], temperature=0
        )
        assert answer.choices[0].message.content == "The capital of France is Paris."

    def embed(self) -> None:
        texts = ["What is the weather in London?", *DOCUMENTS]
        answer = self._openai.embeddings.create(model="embedder", input=texts)
        query, *documents = np.array([each.embedding for each in answer.data])
        np.testing.assert_allclose(np.linalg.norm(query), 1, rtol=1e-5)
        assert np.argmax(documents @ query) == 0

    def rerank(self) -> None:
        with httpx.Client(timeout=60) as http:
            client = cohere.ClientV2("unused", base_url=self._url, httpx_client=http)
            answer = client.rerank(model="reranker", query="What is 7 + 8?", documents=DOCUMENTS)
        assert answer.results[0].index == 2

    def transcribe(self) -> None:
        answer = self._openai.audio.transcriptions.create(
            model="whisper",
            file=("a.wav", wav(self._heard["seconds"]), "audio/wav"),
            language=self._heard["language"],
        )
        assert answer.text == self._heard["text"]

    def speak(self) -> None:
        speech = self._openai.audio.speech.create(
            model="voice", input="Hello!", voice=self._voice, response_format="wav"
        )
        with wave.open(io.BytesIO(speech.content)) as file:
            assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
            assert file.getnframes() > 0

    def paint(self) -> None:
        answer = self._openai.images.generate(
            model="painter",
            prompt="a cat",
            size="64x64",
            extra_body={"num_inference_steps": 2, "rng_seed": 1},
        )
        assert answer.data is not None
        with Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json or ""))) as image:
            assert image.size == (64, 64)

    def uppercase(self) -> None:
        text = np.frombuffer(b"a cat", np.uint8)
        tensor = triton.InferInput("text", [len(text)], "BYTES")
        tensor._raw_content = text.tobytes()
        with triton.InferenceServerClient(self._grpc_address) as client:
            answer = client.infer("uppercase", [tensor]).as_numpy("uppercase")
        assert answer.tobytes() == b"A CAT"


def wait_until_available(server: ServerProcess, deadline_s: float = 60) -> dict[str, Any]:
    """/v1/config, once it has all models and each is AVAILABLE."""
    end = time.monotonic() + deadline_s
    while True:
        config: dict[str, Any] = server.get("/v1/config")[1]
        states = {name: model["model_version_status"][0]["state"] for name, model in config.items()}
        if states == dict.fromkeys(NAMES, "AVAILABLE"):
            return config
        assert time.monotonic() < end, config
        time.sleep(0.2)


def wait_until_unloaded(server: ServerProcess, deadline_s: float = 60) -> None:
    """Until all models are idle, and none is in memory."""
    end = time.monotonic() + deadline_s
    while any(m["model_version_status"][0]["loaded"] for m in server.get("/v1/config")[1].values()):
        assert time.monotonic() < end, server.get("/v1/config")
        time.sleep(0.2)


@contextmanager
def asking(ask: Callable[[], None]) -> Iterator[None]:
    """Ask again and again in a thread while the block runs; an answer that is wrong fails it."""
    done = Event()

    def loop() -> None:
        while not done.is_set():
            ask()

    with ThreadPoolExecutor() as pool:
        future = pool.submit(loop)
        try:
            yield
        finally:
            done.set()
        future.result(timeout=60)
