"""Command lines of `server`, parsed, or refused with a message."""

from pathlib import Path

import pytest

from server.cli.command_line import CommandLine, parse_command_line


def parse(*arguments: str | Path) -> CommandLine:
    return parse_command_line(list(map(str, arguments)))


def problem_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    with pytest.raises(SystemExit) as exit_:
        parse(*arguments)
    assert exit_.value.code == 64
    return capsys.readouterr().err
