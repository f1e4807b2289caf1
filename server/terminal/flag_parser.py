"""A parser of command lines: flags in either spelling, help in parts."""

import argparse
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from server.errors import did_you_mean

__all__ = ["AddFlag", "FlagParser", "HelpFlag", "Switch", "boolean", "pick"]

AddFlag = Callable[..., argparse.Action]
T = TypeVar("T")

# The words that Model Server accepts as the value of a switch.
SWITCH_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
WIDTH = 100
NAME_WIDTH = 30


def boolean(text: str) -> bool:
    """`true`, `false`, or a short form of them."""
    if text.lower() not in SWITCH_WORDS:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return SWITCH_WORDS[text.lower()]


class Switch(argparse._StoreAction):
    """A flag that means true when it has no value: `--pull`, `--pull=true`, `--pull false`."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any) -> None:
        kwargs = {"default": False, "metavar": "", **kwargs}
        super().__init__(option_strings, dest, type=boolean, **kwargs)


class FlagParser(argparse.ArgumentParser):
    """Takes every flag with dashes and with underscores, and names close ones for an unknown flag.

    `--help` shows the flags named in `basics`, or all if there are none; `--help SECTION` shows one
    section and `--help all` everything. Errors end the process with `usage_status`.
    """

    def __init__(
        self,
        *,
        prog: str,
        description: str,
        usage: str,
        usage_status: int,
        basics: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(prog=prog, add_help=False, allow_abbrev=False, **kwargs)
        self._usage_status = usage_status
        self._basics = tuple(basics)
        self._texts = (description, usage)
        self._sections: dict[str, argparse._ArgumentGroup] = {}

    def add_section(self, name: str, title: str) -> AddFlag:
        """Start a part of the help; returns the function that adds flags to it."""
        self._sections[name] = self.add_argument_group(title)
        return self._sections[name].add_argument

    @property
    def sections(self) -> Mapping[str, argparse._ArgumentGroup]:
        """The parts of the help by name."""
        return self._sections

    @property
    def flags(self) -> Sequence[argparse.Action]:
        """All flags that the help shows."""
        return [
            action
            for action in self._actions
            if action.option_strings and action.help is not argparse.SUPPRESS
        ]

    def error(self, message: str) -> NoReturn:
        """End the process with one line that says what is wrong."""
        self.exit(self._usage_status, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")

    def refuse_unknown(self, leftovers: Sequence[str]) -> None:
        """End the process if an argument is left over."""
        for argument in leftovers:
            flag = argument.partition("=")[0]
            if flag.startswith("-"):
                possible = [_plain(name) for action in self.flags for name in action.option_strings]
                self.error(f"unknown flag {flag}{did_you_mean(_plain(flag), possible)}")
        if leftovers:
            self.error(f"unexpected argument {leftovers[0]!r}")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse does, after every flag got the spelling that the parser knows."""
        return super().parse_known_args(self._respell(args), namespace)

    def _respell(self, arguments: Sequence[str]) -> list[str]:
        known = {_plain(flag): flag for flag in self._option_string_actions}
        result: list[str] = []
        for i, argument in enumerate(arguments):
            if argument == "--":
                return [*result, *arguments[i:]]
            name, equals, value = argument.partition("=")
            flag = known.get(_plain(name)) if name.startswith("--") else None
            if flag is None:
                result.append(argument)
                continue
            is_switch = isinstance(self._option_string_actions[flag], Switch)
            if is_switch and not equals and not _is_switch_word(arguments[i + 1 : i + 2]):
                # Without this, argparse would take the model that follows as the value.
                equals, value = "=", "true"
            result.append(f"{flag}{equals}{value}")
        return result

    def format_help(self) -> str:
        """What `--help` shows without a section."""
        return self.help_for("" if self._basics else "all")

    def help_for(self, topic: str) -> str:
        """The help of one section, of `all`, or, for an empty topic, of the basics."""
        description, usage = self._texts
        width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
        formatter = argparse.HelpFormatter(self.prog, max_help_position=NAME_WIDTH, width=width)
        if topic in self._sections:
            self._add_part(formatter, self._sections[topic])
            return formatter.format_help()
        parts = [f"usage: {usage}\n\n{description}"]
        if topic == "all":
            for section in self._sections.values():
                self._add_part(formatter, section)
            parts.append(formatter.format_help())
        else:
            basics = [self._option_string_actions[flag] for flag in self._basics]
            titles = {name: group.title for name, group in self._sections.items()}
            parts += ["Flags:", *map(_line, basics), "\nMore flags:"]
            parts += [
                f"  {f'--help {name}':<{NAME_WIDTH}}{title}"
                for name, title in {**titles, "all": "Everything"}.items()
            ]
            parts.append("")
        return "\n".join(parts)

    def _add_part(
        self, formatter: argparse.HelpFormatter, section: argparse._ArgumentGroup
    ) -> None:
        formatter.start_section(section.title)
        formatter.add_text(section.description)
        formatter.add_arguments(section._group_actions)
        formatter.end_section()


class HelpFlag(argparse.Action):
    """`--help` and `--help SECTION`, of a `FlagParser`."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", metavar="SECTION", help=help)

    def __call__(self, parser: object, _: object, values: Any, *__: object) -> NoReturn:
        assert isinstance(parser, FlagParser)
        topics = (*parser.sections, "all")
        if values is not None and values not in topics:
            parser.error(
                f"--help {values}: no such section; possible: {', '.join(topics)}"
                f"{did_you_mean(values, topics)}"
            )
        print(parser.format_help() if values is None else parser.help_for(values), end="")
        parser.exit()


def pick(settings: type[T], namespace: argparse.Namespace) -> T:
    """The part of the command line that a dataclass holds: the flags called like its fields."""
    names = settings.__dataclass_fields__  # type: ignore[attr-defined]
    return settings(**{name: getattr(namespace, name) for name in names})


def _plain(flag: str) -> str:
    """The spelling with underscores."""
    return flag[:2] + flag[2:].replace("-", "_")


def _is_switch_word(following: Sequence[str]) -> bool:
    return bool(following) and following[0].lower() in SWITCH_WORDS


def _line(action: argparse.Action) -> str:
    """One line of help: the flag and the first sentence."""
    name = ", ".join(action.option_strings)
    value = "" if isinstance(action, Switch) or action.nargs == 0 else action.metavar or "VALUE"
    value = f"[{value}]" if action.nargs == "?" and value else value
    sentence = (action.help or "").partition(". ")[0].rstrip(".")
    return f"  {f'{name} {value}':<{NAME_WIDTH}}{sentence}"
