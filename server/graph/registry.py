"""From the name of a calculator to its class. There are three spellings.

`Name` is an entry point of the group `server.calculators`, `package.module:Class` a class in a
module, `./file.py:Class` a class in a file beside graph.pbtxt. A graph runs code: who may write it
may run anything that the server may.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from server.graph.calculator import Calculator
from server.graph.contract import Contract
from server.graph.plugins import PluginGroup, PluginInfo, UnknownPluginError, close_names
from server.graph.subgraph import Subgraph

__all__ = [
    "ENTRY_POINT_GROUP",
    "NodeClass",
    "calculator_file",
    "checked_class",
    "list_calculators",
    "resolve_calculator",
]

ENTRY_POINT_GROUP = "server.calculators"

# What Model Server's graphs may name and this server does not have.
OVMS_CALCULATORS = {
    "EmbeddingsCalculator": "OVMS's older embeddings calculator",
    "RerankCalculator": "OVMS's older reranker",
    "OVMSOVCalculator": "OVMS's older inference calculator",
}

NodeClass = type[Calculator[Any]] | type[Subgraph[Any]]


def calculator_file(spelling: str, base_path: Path) -> Path | None:
    """The file that a `./file.py:Class` names; None for the other spellings."""
    module_part, _, _ = spelling.rpartition(":")
    return base_path / module_part if module_part.endswith(".py") else None


def resolve_calculator(spelling: str, base_path: Path) -> NodeClass:
    """Import the class that `spelling` names; raises UnknownPluginError."""
    if ":" not in spelling:
        return _resolve_entry_point(spelling)
    module_part, _, class_name = spelling.rpartition(":")
    if not module_part or not class_name:
        raise UnknownPluginError(
            f"calculator {spelling!r} must be 'Name', 'package.module:Class' or './file.py:Class'"
        )
    file = calculator_file(spelling, base_path)
    if file is not None:
        module = _load_file(spelling, file)
    else:
        module = _import_module(spelling, module_part)
    return checked_class(spelling, _attribute(spelling, module, class_name))


def list_calculators() -> list[PluginInfo]:
    """Describe every registered calculator; one that cannot be used says why."""
    return _calculators().list()


def _calculators() -> PluginGroup[NodeClass]:
    return PluginGroup(
        ENTRY_POINT_GROUP,
        "calculator",
        checked_class,
        OVMS_CALCULATORS,
        way_out=", or write 'package.module:Class'",
    )


def _resolve_entry_point(name: str) -> NodeClass:
    if name.endswith(".py"):
        raise UnknownPluginError(
            f"calculator {name!r} names no class; a file is named './{name}:Class'"
        )
    return _calculators().load(name)


def _import_module(spelling: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise UnknownPluginError(
                f"calculator {spelling!r}: there is no module {missing!r}"
            ) from error
        raise UnknownPluginError(
            f"calculator {spelling!r}: module {module_name!r} imports {missing!r}, which is missing"
        ) from error
    except (Exception, SystemExit) as error:
        raise UnknownPluginError(
            f"calculator {spelling!r}: importing module {module_name!r} failed: "
            f"{type(error).__name__}: {error}"
        ) from error


_files_lock = threading.Lock()
_file_signatures: dict[str, tuple[int, int]] = {}


def _load_file(spelling: str, path: Path) -> ModuleType:
    """Import a file under a name made of its whole path; import it again if it has changed."""
    try:
        path = path.resolve()
        is_file = path.is_file()
    except (OSError, ValueError) as error:
        raise UnknownPluginError(f"calculator {spelling!r}: {error}") from error
    if not is_file:
        others = [other.name for other in path.parent.glob("*.py")]
        raise UnknownPluginError(
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
    # Dataclasses look up their module by name while the file still runs.
    sys.modules[module_name] = module
    try:
        # Not through the loader: its byte-code cache misses a second change within one second, and
        # writes into the model's folder.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise UnknownPluginError(
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
            raise UnknownPluginError(
                f"calculator {spelling!r}: {module.__file__ or module.__name__} has no {part!r}; "
                f"{close_names(part, set(classes) - {'Calculator', 'Subgraph'})}"
            ) from None
    return target


def checked_class(spelling: str, target: object) -> NodeClass:
    """Return `target` if it is a usable class; raises UnknownPluginError otherwise."""
    if not (isinstance(target, type) and issubclass(target, (Calculator, Subgraph))):
        raise UnknownPluginError(
            f"calculator {spelling!r} is {target!r}; it must be a subclass of "
            f"server.graph.Calculator or server.graph.Subgraph"
        )
    if not isinstance(getattr(target, "contract", None), Contract):
        raise UnknownPluginError(
            f"calculator {spelling!r}: class {target.__name__} states no `contract`"
        )
    if issubclass(target, Calculator):
        _check_methods(spelling, target)
    return target


def _check_methods(spelling: str, cls: type[Calculator[Any]]) -> None:
    """Refuse async where a plain method is needed, and the reverse: the body would never run."""
    for name in ("process", "open", "close", "health", "status"):
        is_async = name == "process"
        if inspect.iscoroutinefunction(getattr(cls, name)) is not is_async:
            needed = "an `async def`" if is_async else "a plain `def`"
            raise UnknownPluginError(
                f"calculator {spelling!r}: {cls.__name__}.{name} must be {needed}"
            )
