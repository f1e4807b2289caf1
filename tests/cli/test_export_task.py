"""What `server` exports a model for, and the flags of each task."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.command_lines import parse

from server.cli.export_task import find_export_task
from server.errors import ConfigError
from server.models.tasks import (
    EMBEDDINGS,
    IMAGE_GENERATION,
    RERANK,
    SPEECH_TO_TEXT,
    TEXT_GENERATION,
    TEXT_TO_SPEECH,
    Task,
)

COMMIT = "0" * 40


@pytest.mark.parametrize(
    ("task", "flags", "told"),
    [
        (
            EMBEDDINGS,
            ["--normalize=false", "--truncate", "--pooling=LAST", "--num_streams=2"],
            ["--skip_normalize", "--truncate", "--pooling=LAST", "--num_streams=2"],
        ),
        (EMBEDDINGS, ["--normalize", "true", "--truncate=false"], []),
        (
            TEXT_GENERATION,
            ["--draft_source_model=a/b", "--prompt_lookup_decoding", "--draft_model_path=x"],
            ["--draft_source_model=a/b", "--prompt_lookup_decoding", "--draft_source_model=x"],
        ),
        (RERANK, ["--max_allowed_chunks=5"], ["--max_allowed_chunks=5"]),
        (
            IMAGE_GENERATION,
            ["--resolution=8x8 9x9", "--source_loras=a=b/c"],
            ["--resolution=8x8 9x9", "--source_loras=a=b/c"],
        ),
        (
            TEXT_TO_SPEECH,
            ["--vocoder=x", "--model_type=speecht5"],
            ["--vocoder=x", "--model_type=speecht5"],
        ),
        (SPEECH_TO_TEXT, ["--enable_word_timestamps"], ["--enable_word_timestamps"]),
    ],
)
def test_flags_of_a_task_reach_the_exporter(task: Task, flags: list[str], told: list[str]) -> None:
    line = parse("--source_model=org/m", "--model_repository_path=r", f"--task={task.name}", *flags)
    assert line.export.command(line.models, task)[4:] == told


def test_a_flag_of_another_task() -> None:
    line = parse("--source_model=org/m", "--model_repository_path=r", "--num_streams=2")
    with pytest.raises(ConfigError, match="--num_streams is for embeddings and rerank and .*; th"):
        line.export.command(line.models, TEXT_GENERATION)
    line = parse("--source_model=org/m", "--model_repository_path=r", "--cache_size=2")
    with pytest.raises(ConfigError, match="--cache_size is for text_generation; this model is for"):
        line.export.command(line.models, RERANK)


def test_the_task_of_a_model_to_export(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "config.json").write_text('{"model_type": "whisper"}')
    line = parse("--source_model", source, "--model_repository_path", tmp_path / "models")
    assert find_export_task(line.models) is SPEECH_TO_TEXT
    named = parse("--source_model=a/b", "--model_repository_path=x", "--task=rerank")
    assert find_export_task(named.models) is RERANK
    exported = line.models.served_path
    exported.mkdir(parents=True)
    (exported / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    (exported / "transformer").mkdir()
    (exported / "transformer" / "openvino_model.xml").touch()
    assert find_export_task(line.models) is IMAGE_GENERATION
    here = parse("--configure", "--model_path", exported, "--model_name=m")
    assert find_export_task(here.models) is IMAGE_GENERATION


@pytest.mark.parametrize("files", [{}, {"config.json": {"architectures": ["BertModel"]}}])
def test_the_task_of_a_model_on_the_hub(
    files: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    models = parse("--source_model=org/m", "--model_repository_path=x").models
    with fake_hub({name: json.dumps(text).encode() for name, text in files.items()}) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        expected = EMBEDDINGS if files else TEXT_GENERATION
        assert find_export_task(models) is expected
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="what is org/m for\\? .*; --task says it"):
        find_export_task(models)


@contextmanager
def fake_hub(files: dict[str, bytes]) -> Iterator[str]:
    """A server that has the repository org/m, as huggingface_hub asks for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if "/tree/" in self.path:
                found = [{"type": "file", "path": file, "size": 1, "oid": "1"} for file in files]
                body = json.dumps(found).encode()
            else:
                body = files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"1"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
