"""Calculator name -> class. The three spellings are told apart by their shape.

`Name` is an entry point of the group `server.calculators`, `package.module:Class` an attribute of
an importable module, `./file.py:Class` one of a file beside graph.pbtxt. A graph is configuration
that runs code: whoever may write it may run anything the server may.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from server.errors import did_you_mean
from server.graph.calculator import Calculator
from server.graph.contract import Contract
from server.graph.subgraph import Subgraph

__all__ = [
    "ENTRY_POINT_GROUP",
    "CalculatorInfo",
    "NodeClass",
    "UnknownCalculatorError",
    "calculator_file",
    "checked_class",
    "close_names",
    "list_calculators",
    "resolve_calculator",
]

ENTRY_POINT_GROUP = "server.calculators"

# Comparing is quadratic over a whole file of mistakes.
MAX_COMPARED_NAMES = 200

NodeClass = type[Calculator] | type[Subgraph]


class UnknownCalculatorError(Exception):
    """A `calculator:` leads to no class; the message says which part of it was wrong.

    Only validation sees it: it becomes one problem of a GraphValidationError.
    """


class CalculatorInfo(NamedTuple):
    """A line of `server --list_calculators`."""

    name: str
    description: str
    origin: str


def close_names(found: str, possible: Iterable[str]) -> str:
    """Say what `found` may have been meant to be, and what else was possible."""
    names = sorted(set(possible))
    if not names:
        return "there are none"
    if len(names) > MAX_COMPARED_NAMES:
        return f"there are {len(names)} others"
    close = did_you_mean(found, names)
    if close:
        return close.removeprefix("; ")
    return f"possible: {', '.join(repr(name) for name in names)}"


def calculator_file(spelling: str, base_path: Path) -> Path | None:
    """The file that a `./file.py:Class` names; None for the other spellings."""
    module_part, _, _ = spelling.rpartition(":")
    return base_path / module_part if module_part.endswith(".py") else None


def resolve_calculator(spelling: str, base_path: Path) -> NodeClass:
    """Import the class that `spelling` names; raises UnknownCalculatorError."""
    if ":" not in spelling:
        return _resolve_entry_point(spelling)
    module_part, _, class_name = spelling.rpartition(":")
    if not module_part or not class_name:
        raise UnknownCalculatorError(
            f"calculator {spelling!r} must be 'Name', 'package.module:Class' or './file.py:Class'"
        )
    file = calculator_file(spelling, base_path)
    if file is not None:
        module = _load_file(spelling, file)
    else:
        module = _import_module(spelling, module_part)
    return checked_class(spelling, _attribute(spelling, module, class_name))


def list_calculators() -> list[CalculatorInfo]:
    """Describe every registered calculator; one that cannot be imported says so."""
    infos = []
    for name, points in sorted(_entry_points_by_name().items()):
        try:
            cls = _resolve_entry_point(name)
            description = (cls.__doc__ or "").strip().partition("\n")[0]
        except UnknownCalculatorError as error:
            description = f"unusable: {error}"
        infos.append(CalculatorInfo(name, description, _origin(points[0])))
    return infos


@functools.cache
def _entry_points_by_name() -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        others = found.setdefault(point.name, [])
        # One distribution that is found twice on sys.path is no conflict.
        if point.value not in [other.value for other in others]:
            others.append(point)
    return {name: tuple(points) for name, points in found.items()}


def _origin(point: EntryPoint) -> str:
    if point.dist is None:
        return point.value
    return f"{point.dist.name} {point.dist.version} ({point.value})"


def _resolve_entry_point(name: str) -> NodeClass:
    points = _entry_points_by_name().get(name, ())
    if not points:
        hint = close_names(name, _entry_points_by_name())
        if name.endswith(".py"):
            hint = f"a file is named './{name}:Class'"
        raise UnknownCalculatorError(f"no installed package registers calculator {name!r}; {hint}")
    if len(points) > 1:
        origins = " and ".join(_origin(point) for point in points)
        raise UnknownCalculatorError(
            f"calculator {name!r} is registered by {origins}; uninstall one, or write "
            f"'package.module:Class'"
        )
    try:
        target = points[0].load()
    except (Exception, SystemExit) as error:
        raise UnknownCalculatorError(
            f"calculator {name!r} of {_origin(points[0])} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    return checked_class(name, target)


def _import_module(spelling: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise UnknownCalculatorError(
                f"calculator {spelling!r}: there is no module {missing!r}"
            ) from error
        raise UnknownCalculatorError(
            f"calculator {spelling!r}: module {module_name!r} imports {missing!r}, which is missing"
        ) from error
    except (Exception, SystemExit) as error:
        raise UnknownCalculatorError(
            f"calculator {spelling!r}: importing module {module_name!r} failed: "
            f"{type(error).__name__}: {error}"
        ) from error


_files_lock = threading.Lock()
_file_signatures: dict[str, tuple[int, int]] = {}


def _load_file(spelling: str, path: Path) -> ModuleType:
    """Import a file under a name made of its whole path, again when the file has changed."""
    try:
        path = path.resolve()
        is_file = path.is_file()
    except (OSError, ValueError) as error:
        raise UnknownCalculatorError(f"calculator {spelling!r}: {error}") from error
    if not is_file:
        others = [other.name for other in path.parent.glob("*.py")]
        raise UnknownCalculatorError(
            f"calculator {spelling!r}: there is no file {path}; {close_names(path.name, others)}"
        )
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    module_name = f"{path.stem}_{digest}"
    with _files_lock:
        stat = path.stat()
        signature = (stat.st_mtime_ns, stat.st_size)
        if _file_signatures.get(module_name) == signature and module_name in sys.modules:
            return sys.modules[module_name]
        module = _execute_file(spelling, path, module_name)
        _file_signatures[module_name] = signature
        return module


def _execute_file(spelling: str, path: Path, module_name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while the file still runs.
    sys.modules[module_name] = module
    try:
        # Not through the loader: its byte-code cache would miss a change within one second, and
        # would write into the model's folder.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise UnknownCalculatorError(
            f"calculator {spelling!r}: file {path} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    return module


def _attribute(spelling: str, module: ModuleType, class_path: str) -> Any:
    target: Any = module
    for part in class_path.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            classes = [
                name
                for name, value in vars(module).items()
                if isinstance(value, type) and issubclass(value, (Calculator, Subgraph))
            ]
            raise UnknownCalculatorError(
                f"calculator {spelling!r}: {module.__file__ or module.__name__} has no {part!r}; "
                f"{close_names(part, set(classes) - {'Calculator', 'Subgraph'})}"
            ) from None
    return target


def checked_class(spelling: str, target: object) -> NodeClass:
    """Return `target` if it can be a node; raises UnknownCalculatorError otherwise."""
    if not (isinstance(target, type) and issubclass(target, (Calculator, Subgraph))):
        raise UnknownCalculatorError(
            f"calculator {spelling!r} is {target!r}; it must be a subclass of "
            f"server.graph.Calculator or server.graph.Subgraph"
        )
    if not isinstance(getattr(target, "contract", None), Contract):
        raise UnknownCalculatorError(
            f"calculator {spelling!r}: class {target.__name__} states no `contract`"
        )
    if issubclass(target, Calculator):
        _check_methods(spelling, target)
    return target


def _check_methods(spelling: str, cls: type[Calculator]) -> None:
    """Refuse a method of the wrong kind: Python would call it, and its body would never run."""
    for name in ("process", "open", "close", "health", "status"):
        is_async = name == "process"
        if inspect.iscoroutinefunction(getattr(cls, name)) is not is_async:
            needed = "an `async def`" if is_async else "a plain `def`"
            raise UnknownCalculatorError(
                f"calculator {spelling!r}: {cls.__name__}.{name} must be {needed}"
            )
