"""The file that a Python node names -> its class `OvmsPythonModel`."""

import ast
import hashlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from server.errors import ModelLoadError

__all__ = ["check_handler", "describe_failure", "load_handler"]

CLASS_NAME = "OvmsPythonModel"

Signature = tuple[int, int]


@dataclass(frozen=True)
class _Loaded:
    """A module, and the files of its folder that it is made of."""

    module: ModuleType
    files: Mapping[Path, Signature]


_lock = threading.Lock()
_loaded: dict[Path, _Loaded] = {}


def check_handler(file: Path) -> None:
    """Raise ModelLoadError if the file cannot be read or is not Python."""
    try:
        ast.parse(_read(file), str(file))
    except (SyntaxError, ValueError) as error:
        raise ModelLoadError(f"{file}: {error}") from error


def load_handler(file: Path) -> tuple[type[Any], tuple[Path, ...]]:
    """The class, and the files that it comes from. Raises ModelLoadError.

    A file is executed once for all nodes that name it, and again when it, or a module beside it
    that it imports, has changed. Files of one name in different folders are different modules.
    """
    with _lock:
        found = _loaded.get(file)
        if found is None or any(_signature(path) != old for path, old in found.files.items()):
            found = _loaded[file] = _execute(file)
    model_class = getattr(found.module, CLASS_NAME, None)
    if not isinstance(model_class, type):
        raise ModelLoadError(f"{file} defines no class {CLASS_NAME}")
    if not callable(getattr(model_class, "execute", None)):
        raise ModelLoadError(f"{file}: class {CLASS_NAME} has no method execute(self, inputs)")
    return model_class, tuple(found.files)


def describe_failure(error: BaseException, file: Path) -> str:
    """The type and text of an exception, and the line of the handler that it comes from."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_of(frame, file)]
    return f"{text} ({file.name}, line {lines[-1].lineno})" if lines else text


def _is_of(frame: traceback.FrameSummary, file: Path) -> bool:
    return frame.filename == str(file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"handler_path: {file} cannot be read: {error.strerror}") from error


def _signature(file: Path) -> Signature | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _execute(file: Path) -> _Loaded:
    source = _read(file)
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:16]
    name = f"{file.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise ModelLoadError(f"handler_path: {file} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    files = {file: _signature(file)}
    # Dataclasses look up their module by name while the file still runs.
    sys.modules[name] = module
    try:
        with _importing_from(file.parent) as modules:
            exec(compile(source, str(file), "exec"), module.__dict__)
        files |= {path: _signature(path) for path in modules.values()}
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelLoadError(
            f"{file} cannot be imported: {describe_failure(error, file)}"
        ) from error
    return _Loaded(module, {path: found for path, found in files.items() if found is not None})


@contextmanager
def _importing_from(folder: Path) -> Iterator[dict[str, Path]]:
    """Let a handler import the modules beside it; afterwards the result has their files.

    They are forgotten then, so that the next handler finds the modules of its own folder under the
    same names. The folder stays in the search path, at its end, for imports in functions.
    """
    path, modules = str(folder), dict[str, Path]()
    before = set(sys.modules)
    sys.path.insert(0, path)
    try:
        yield modules
    finally:
        sys.path.remove(path)
        if path not in sys.path:
            sys.path.append(path)
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            is_new = name.partition(".")[0] not in before
            if is_new and origin is not None and _is_own(Path(origin), folder):
                modules[name] = Path(origin)
                del sys.modules[name]


def _is_own(file: Path, folder: Path) -> bool:
    is_inside = file.suffix == ".py" and file.is_relative_to(folder)
    return is_inside and "site-packages" not in file.parts
