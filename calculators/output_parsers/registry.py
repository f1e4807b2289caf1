"""The families of models by name, and which of them a chat template belongs to."""

import functools
import logging
from collections.abc import Mapping

from calculators.output_parsers.model_family import ModelFamily
from server.errors import did_you_mean
from server.graph import PluginGroup, UnknownPluginError

__all__ = [
    "NO_PARSER",
    "aliases",
    "choose_parsers",
    "families",
    "find_parser_problems",
    "guided_tool_parsers",
    "parser_names",
]

GROUP = "server.output_parsers"
NO_PARSER = "none"

logger = logging.getLogger(__name__)


class _Onyx(ModelFamily):
    template_marks = (("<|start|>", "<|message|>", "<|eom|>", "<|eot|>"),)


# OVMS's family without a parser here. Its templates are known so that its models are not taken for
# those of another family.
_MISSING: Mapping[str, type[ModelFamily]] = {"onyx": _Onyx}


@functools.cache
def families() -> Mapping[str, type[ModelFamily]]:
    """Every family that is installed and can be used."""
    found = {}
    for name in _group().names():
        try:
            found[name] = _group().load(name)
        except UnknownPluginError as error:
            logger.warning("%s", error)
    return found


def aliases() -> Mapping[str, str]:
    """The other names of the families, and the family that each of them stands for."""
    found = {alias: name for name, family in families().items() for alias in family.aliases}
    return {alias: name for alias, name in found.items() if alias not in families()}


def parser_names(option: str) -> list[str]:
    """The families that `option`, tool_parser or reasoning_parser, can name."""
    return [name for name, family in families().items() if getattr(family, option) is not None]


def guided_tool_parsers() -> list[str]:
    """The families whose tool calls a grammar can describe."""
    return [
        name
        for name, family in families().items()
        if family.tool_parser is not None and family.tool_parser.frame is not None
    ]


def find_parser_problems(
    tool_parser: str, reasoning_parser: str, *, is_guided: bool = False
) -> list[str]:
    """What is wrong with the values of the two options; "" leaves it to the chat template.

    With `is_guided` a grammar is to enforce the form of tool calls.
    """
    tool_parser, reasoning_parser = _resolve(tool_parser), _resolve(reasoning_parser)
    options = {"tool_parser": tool_parser, "reasoning_parser": reasoning_parser}
    problems = [
        f"{option} is {name!r}{_why_not(option, name)}"
        for option, name in options.items()
        if name not in ("", NO_PARSER, *parser_names(option))
    ]
    names = {tool_parser, reasoning_parser}
    for name in sorted(filter(_is_inseparable, names)):
        if not names <= {name, ""}:
            problems.append(
                f"tool_parser is {tool_parser!r} and reasoning_parser is {reasoning_parser!r}; "
                f"{name!r} is possible for both or for neither"
            )
    guided = guided_tool_parsers()
    if is_guided and not problems and tool_parser not in ("", *guided):
        problems.append(
            f"enable_tool_guided_generation is not possible with the tool_parser {tool_parser!r}; "
            f"possible: {', '.join(guided)}"
        )
    return problems


def choose_parsers(tool_parser: str, reasoning_parser: str, template: str) -> tuple[str, str]:
    """Replace "" by the name of the family that the chat template belongs to, or "none".

    Other names of a family become its own.
    """
    tool_parser, reasoning_parser = _resolve(tool_parser), _resolve(reasoning_parser)
    for name in (tool_parser, reasoning_parser):
        if _is_inseparable(name):
            return name, name
    family = _find_family(template)
    if _is_inseparable(family) and (tool_parser or reasoning_parser):
        family = NO_PARSER
    if not tool_parser:
        tool_parser = family if family in parser_names("tool_parser") else NO_PARSER
    return tool_parser, reasoning_parser or _find_reasoning(family, template)


def _find_family(template: str) -> str:
    candidates = {**_MISSING, **families()}
    matching = {name for name, family in candidates.items() if family.count_marks(template)}

    def rank(name: str) -> tuple[bool, int, str]:
        family = candidates[name]
        return family.is_generic, -family.count_marks(template), name

    return min(matching, key=rank, default=NO_PARSER)


def _find_reasoning(family: str, template: str) -> str:
    found = families().get(family)
    if found is not None and found.has_reasoning(template):
        return family
    matching = {
        name: other
        for name, other in families().items()
        if not other.template_marks and other.reasoning_marks and other.has_reasoning(template)
    }
    return min(matching, key=lambda name: (matching[name].is_generic, name), default=NO_PARSER)


def _resolve(name: str) -> str:
    return aliases().get(name, name)


def _is_inseparable(name: str) -> bool:
    return name in families() and families()[name].is_inseparable


def _why_not(option: str, name: str) -> str:
    possible = [*parser_names(option), NO_PARSER]
    hint = did_you_mean(name, possible)
    if name not in families() and name in (*_MISSING, *_group().names()):
        try:
            _group().load(name)
        except UnknownPluginError as error:
            hint = f": {error}"
    return f"{hint}; possible: {', '.join(possible)}"


def _group() -> PluginGroup[type[ModelFamily]]:
    missing = dict.fromkeys(_MISSING, "OVMS's output parser")
    return PluginGroup(GROUP, "output parser", _check_family, missing)


def _check_family(name: str, target: object) -> type[ModelFamily]:
    if not (isinstance(target, type) and issubclass(target, ModelFamily)):
        raise UnknownPluginError(
            f"output parser {name!r} is {target!r}; it must be a subclass of "
            "calculators.output_parsers.ModelFamily"
        )
    if target.tool_parser is None and target.reasoning_parser is None:
        raise UnknownPluginError(
            f"output parser {name!r}: {target.__name__} states no tool_parser and no "
            "reasoning_parser"
        )
    return target
