"""Scripts with which bash and zsh complete a command, made from its flags."""

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from server.terminal.flag_parser import FlagParser, Switch

__all__ = ["SHELLS", "completion_script"]

SHELLS = ("bash", "zsh")

BASH = """\
_{name}_complete() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} values= flags
  # bash splits --flag=value in three words.
  [[ $cur == = ]] && cur=
  [[ $prev == = ]] && prev=${{COMP_WORDS[COMP_CWORD-2]}}
  case ${{COMP_WORDS[1]}} in
{tables}
  esac
  case $values in
    FILE) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    TEXT) COMPREPLY=(); return ;;
    ?*) COMPREPLY=($(compgen -W "$values" -- "$cur")); return ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
  else
    COMPREPLY=($(compgen -d -- "$cur"))
    ((COMP_CWORD == 1)) && COMPREPLY+=($(compgen -W "{commands}" -- "$cur"))
  fi
}}
complete -o filenames -F _{name}_complete {name}
"""
BASH_TABLE = """\
    {command}) flags="{flags}"
      case $prev in
{cases}
      esac ;;"""

ZSH = """\
#compdef {name}
_{name}() {{
  case $words[2] in
{tables}
  esac
}}
if [[ $funcstack[1] == _{name} ]]; then _{name} "$@"; else compdef _{name} {name}; fi
"""
ZSH_TABLE = """\
    {command}) {shift}_arguments \\
{lines} ;;"""


def completion_script(shell: str, parser: FlagParser, commands: Mapping[str, FlagParser]) -> str:
    """The script for a command; `commands` are its sub-commands."""
    tables = {**commands, "*": parser}
    make = _bash if shell == "bash" else _zsh
    return make(parser.prog, tables, tuple(commands))


def _bash(name: str, tables: Mapping[str, FlagParser], commands: Iterable[str]) -> str:
    parts = []
    for command, parser in tables.items():
        cases = [
            f"        {'|'.join(_names(flag))}) values='{_values(flag)}' ;;"
            for flag in parser.flags
            if _values(flag)
        ]
        flags = " ".join(name for flag in parser.flags for name in _names(flag))
        parts.append(BASH_TABLE.format(command=command, flags=flags, cases="\n".join(cases)))
    return BASH.format(name=name, tables="\n".join(parts), commands=" ".join(commands))


def _zsh(name: str, tables: Mapping[str, FlagParser], commands: Iterable[str]) -> str:
    words = " ".join(commands)
    places = dict.fromkeys(tables, "'*:file:_files'")
    places["*"] = f"'1:model or command:{{compadd {words}; _files -/}}'"
    parts = []
    for command, parser in tables.items():
        lines = [f"      {_zsh_flag(flag, each)}" for flag in parser.flags for each in _names(flag)]
        shift = "" if command == "*" else "shift words; ((CURRENT--)); "
        text = " \\\n".join([*lines, f"      {places[command]}"])
        parts.append(ZSH_TABLE.format(command=command, shift=shift, lines=text))
    return ZSH.format(name=name, tables="\n".join(parts))


def _zsh_flag(flag: argparse.Action, name: str) -> str:
    sentence = (flag.help or "").partition(". ")[0]
    text = re.sub(r"['\[\]:\\]", " ", sentence)
    values = _values(flag)
    if not values:
        return f"'{name}[{text}]'"
    actions = {"FILE": "_files", "TEXT": " "}
    equals = "=" if name.startswith("--") else ""
    return f"'{name}{equals}[{text}]:value:{actions.get(values, f'({values})')}'"


def _names(flag: argparse.Action) -> Iterable[str]:
    return flag.option_strings


def _values(flag: argparse.Action) -> str:
    """The values, FILE, TEXT, or nothing for a flag that needs no value."""
    if flag.choices is not None:
        return " ".join(map(str, flag.choices))
    if flag.nargs in {0, "?"} or isinstance(flag, Switch):
        return ""
    return "FILE" if flag.type is Path else "TEXT"
