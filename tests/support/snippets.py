"""Runs the fenced blocks of a page in order, as a reader would who copies them one by one."""

import contextlib
import gc
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import yaml
from support.documents import Block
from support.server_process import ROOT, ServerProcess, server_process

ADDRESS = "127.0.0.1:8000"
GRPC_ADDRESS = "127.0.0.1:9000"
TIMEOUT_S = 120
PICTURES = ("mermaid",)


class Servers:
    """Servers that pages share: a page that starts what another one has started gets that."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._shared: dict[str, ServerProcess] = {}

    def shared(self, command: str, folder: Path) -> ServerProcess:
        """The server of this command, started at its first use."""
        if command not in self._shared:
            self._shared[command] = self._stack.enter_context(start(command, folder))
        return self._shared[command]

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def start(command: str, folder: Path) -> Iterator[ServerProcess]:
    """Run a command `[NAME=value ...] server ...` on a free port, without tuning."""
    words = shlex.split(command, comments=True)
    environment = dict(os.environ)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    assert words.pop(0) == "server", command
    environment["PYTHONPATH"] = str(ROOT)
    # A later flag wins.
    ports = ["--rest_port", "0", *(["--port", "0"] if "--port" in words else [])]
    with server_process(*words, *ports, cwd=folder, env=environment) as server:
        for name, found in server.get("/v1/config")[1].items():
            assert found["model_version_status"][0]["state"] == "AVAILABLE", f"{name}: {found}"
        yield server


class PageRun:
    """The folder and the server of one page while its blocks run."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self._folder = folder
        self._servers = servers
        self._server: ServerProcess | None = None
        self._own_server = ExitStack()
        self._has_files = False
        self._output = ""

    def close(self) -> None:
        """Stop the page's own server."""
        self._own_server.close()

    def run(self, block: Block) -> None:
        """Run a block; AssertionError where it does not do what the page says."""
        if "no-run" in block.info or block.language in PICTURES:
            return
        if "file" in block.info:
            self._write(block)
        elif "serve" in block.info:
            self._serve(block.text)
        elif block.language == "bash":
            self._run_shell(block)
        elif block.language == "python":
            self._run_python(block)
        elif block.language == "text":
            self._compare_output(block)
        else:
            _parse(block)

    def _write(self, block: Block) -> None:
        path = self._folder / block.info["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        self._has_files = True

    def _serve(self, command: str) -> None:
        command = command.replace("\\\n", " ").strip()
        self._own_server.close()
        if self._has_files:
            self._server = self._own_server.enter_context(start(command, self._folder))
        else:
            self._server = self._servers.shared(command, self._folder)

    def _run_shell(self, block: Block) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._local(block.text)],
            cwd=self._folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert bool(done.returncode) == ("fails" in block.info), (
            f"{block.where}: exit status {done.returncode}\n{done.stdout}"
        )
        self._output = self._public(done.stdout)

    def _run_python(self, block: Block) -> None:
        """In this process: to import OpenAI's client anew for each block would take seconds."""
        # The lines of a traceback are those of the page.
        code = compile("\n" * block.line + self._local(block.text), str(block.page), "exec")
        written = io.StringIO()
        # What readers type leaves sockets to the end of the program.
        with (
            contextlib.chdir(self._folder),
            contextlib.redirect_stdout(written),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            exec(code, {"__name__": "__main__"})
            gc.collect()
        self._output = self._public(written.getvalue())

    def _compare_output(self, block: Block) -> None:
        """The block is what the one before it has written; `...` stands for anything."""
        parts = map(re.escape, block.text.strip().split("..."))
        assert re.search(".*?".join(parts), self._output, re.DOTALL), (
            f"{block.where}: found\n{self._output}\ninstead of\n{block.text}"
        )

    def _local(self, text: str) -> str:
        """With the address of the server that runs."""
        if self._server is None:
            return text
        text = text.replace(GRPC_ADDRESS, self._server.grpc_address or GRPC_ADDRESS)
        return text.replace(ADDRESS, self._server.url.removeprefix("http://"))

    def _public(self, text: str) -> str:
        """With the address that the page has."""
        if self._server is None:
            return text
        return text.replace(self._server.url.removeprefix("http://"), ADDRESS)


def _parse(block: Block) -> None:
    parsers = {"json": json.loads, "yaml": yaml.safe_load}
    assert block.language in parsers, f"{block.where}: nothing runs {block.language!r}"
    parsers[block.language](block.text)


def make_project(folder: Path, models: Mapping[str, Path]) -> None:
    """A folder like the project's after the quick start, with models/."""
    for name in ("calculators", "demos", "export_models", "server", "tests"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name, source in models.items():
        shutil.copytree(source, folder / "models" / name)
