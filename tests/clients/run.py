"""Installs all clients into build/clients, starts a server, and writes docs/clients.md's table."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.server_process import server_process  # noqa: E402 - it is found through the path

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "clients"


def install() -> Path:
    """Install what the programs import; returns the interpreter that has it."""
    python = BUILD / "venv" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", BUILD / "venv"], check=True)
    requirements = HERE / "requirements.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    shutil.copy(HERE / "package.json", BUILD)
    subprocess.run(["npm", "install", "--silent", "--no-fund"], cwd=BUILD, check=True)
    return python


def main() -> int:
    python = install()
    # Node looks for packages beside the program and above it.
    modules = HERE / "node_modules"
    modules.unlink(missing_ok=True)
    modules.symlink_to(BUILD / "node_modules")
    try:
        with server_process("tiny_chat") as server:
            command = [python, HERE / "table.py", server.url, ROOT / "docs" / "clients.md"]
            return subprocess.run(command, check=False).returncode
    finally:
        modules.unlink()


if __name__ == "__main__":
    sys.exit(main())
