"""Compiled models that tests share: compiling takes most of the time of a small server."""

from types import ModuleType

import openvino as ov
import pytest

_COMPILED: dict[tuple[str, ...], object] = {}


def compile_once(patch: pytest.MonkeyPatch, module: ModuleType, function: str) -> None:
    """Let a function compile only what differs in its file or settings; files must not change."""
    compiling = getattr(module, function)

    def compile_shared(*arguments: object) -> object:
        told = (repr(value) for value in arguments if not isinstance(value, ov.Model))
        key = (module.__name__, *told)
        if key not in _COMPILED:
            _COMPILED[key] = compiling(*arguments)
        return _COMPILED[key]

    patch.setattr(module, function, compile_shared)
