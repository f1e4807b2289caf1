"""Installs all clients into build/clients, starts a server, and writes docs/clients.md's table."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.server_process import server_process  # noqa: E402 - it is found through the path

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "clients"


def make_environment(name: str, requirements: str) -> Path:
    """An environment that has what a file lists; returns the folder with its programs."""
    programs = BUILD / name / "bin"
    if not (programs / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", BUILD / name], check=True)
    install = [programs / "python", "-m", "pip", "install", "-q", "-r", HERE / requirements]
    subprocess.run(install, check=True)
    return programs


def install() -> tuple[Path, Path]:
    """Install what the programs import; returns the folders of the clients' and the proxy's."""
    clients = make_environment("venv", "requirements.txt")
    # It needs exact versions of packages that others need in other versions.
    proxy = make_environment("proxy", "requirements-proxy.txt")
    shutil.copy(HERE / "package.json", BUILD)
    subprocess.run(["npm", "install", "--silent", "--no-fund"], cwd=BUILD, check=True)
    return clients, proxy


def write_config() -> Path:
    """The models that the programs ask."""
    folder = ROOT / "server" / "bundled_models"
    models = [
        {"config": {"name": name, "base_path": str(folder / name)}}
        for name in ("tiny_chat", "tiny_embedder")
    ]
    config = BUILD / "config.json"
    config.write_text(json.dumps({"model_config_list": models}))
    return config


def main() -> int:
    clients, proxy = install()
    # Node looks for packages beside the program and above it.
    modules = HERE / "node_modules"
    modules.unlink(missing_ok=True)
    modules.symlink_to(BUILD / "node_modules")
    try:
        with server_process("--config_path", write_config()) as server:
            page = ROOT / "docs" / "clients.md"
            command = [clients / "python", HERE / "table.py", server.url, page]
            environment = {**os.environ, "LITELLM_PROXY": str(proxy)}
            return subprocess.run(command, check=False, env=environment).returncode
    finally:
        modules.unlink()


if __name__ == "__main__":
    sys.exit(main())
