"""The completion scripts, run by the shells that they are for."""

import shutil
import subprocess
from pathlib import Path

import pytest

from server.cli.chat.chat_command import make_parser as make_chat_parser
from server.cli.command_line import make_parser
from server.terminal.completion import completion_script


def script(shell: str) -> str:
    return completion_script(shell, make_parser(), {"chat": make_chat_parser()})


def complete(line: str, folder: Path) -> set[str]:
    """What bash offers when Tab is pressed at the end of the line."""
    words = line.replace("=", " = ").split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    test = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _server_complete"
    result = subprocess.run(
        ["bash", "-c", f'{script("bash")}\n{test}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stderr == ""
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("server --rest_p", {"--rest_port"}),
        ("server --api_key", {"--api_key_file", "--api_key_protects"}),
        ("server --log_level D", {"DEBUG"}),
        ("server --log_level=D", {"DEBUG"}),
        ("server --config_path ", {"folder", "config.json", "chat.txt"}),
        ("server --config_path co", {"config.json"}),
        ("server --rest_port ", set()),
        ("server f", {"folder"}),
        ("server c", {"chat"}),
        ("server chat --te", {"--temperature"}),
        ("server chat --rest", set()),
        ("server chat f", {"folder"}),
    ],
)
def test_bash(line: str, offered: set[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "config.json").touch()
    (tmp_path / "chat.txt").touch()
    assert complete(line, tmp_path) == offered


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh(tmp_path: Path) -> None:
    (tmp_path / "_server").write_text(script("zsh"))
    result = subprocess.run(
        ["zsh", "-n", str(tmp_path / "_server")], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_every_flag_is_in_both_scripts() -> None:
    flags = [name for flag in make_parser().flags for name in flag.option_strings]
    assert len(flags) > 60
    for shell in ("bash", "zsh"):
        assert [flag for flag in flags if flag not in script(shell)] == []
