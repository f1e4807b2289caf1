"""The command `server` with faults that happen when a file appears:

    python tests/faults/faulty_server.py FOLDER [flags of server ...]

`touch FOLDER/step_hangs` makes the next step of a language model hang. The file may hold a number:
how many seconds it hangs, or how often it fails. FAULTS has all names. No request can cause any.
The server's own code has no part in this; its functions are replaced before it starts.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from calculators import openvino_inference_calculator as inference
from calculators.encoders import encoder_model
from server.cli.main import main
from server.engine.async_engine import AsyncLLMEngine
from server.engine.engine import LLMEngine
from server.engine.kv.kv_cache import HostKVCache
from server.engine.model.model_runner import ModelRunner
from server.errors import ModelLoadError
from server.host.watch import WATCHDOG
from server.models.config_source import ConfigSource

FOREVER_S = 10**9


def hang(amount: float) -> None:
    time.sleep(amount or FOREVER_S)


def fail(_: float) -> None:
    raise RuntimeError("an injected fault")


def leave(_: float) -> None:
    sys.exit("an injected fault")


def run_out_of_memory(_: float) -> None:
    raise MemoryError("an injected fault")


def throw_bad_alloc(_: float) -> None:
    raise RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223: std::bad_alloc")


class UnspeakableError(BaseException):
    """Its text cannot be had, so that who handles it fails as well."""

    def __str__(self) -> str:
        raise RuntimeError("an injected fault in the handling of a fault")


def kill_thread(_: float) -> None:
    raise UnspeakableError


def refuse_memory(_: float) -> None:
    raise ModelLoadError("an injected fault: no memory")


def fail_to_read(_: float) -> None:
    raise OSError(5, "an injected fault: input/output error")


Fault = Callable[[float], None]
# Name of the fault -> the class and the function before which it happens, and what happens.
FAULTS: dict[str, tuple[Any, str, Fault]] = {
    "step_hangs": (ModelRunner, "run", hang),
    "step_fails": (ModelRunner, "run", fail),
    "step_exits": (ModelRunner, "run", leave),
    "step_has_no_memory": (ModelRunner, "run", run_out_of_memory),
    "step_throws_bad_alloc": (ModelRunner, "run", throw_bad_alloc),
    "request_exits": (LLMEngine, "add", leave),
    "reload_has_no_memory": (HostKVCache, "__init__", refuse_memory),
    "engine_thread_dies": (AsyncLLMEngine, "_wait_for_work", kill_thread),
    "batch_hangs": (encoder_model.EncoderModel, "infer", hang),
    "batch_fails": (encoder_model.EncoderModel, "infer", fail),
    "batch_has_no_memory": (encoder_model.EncoderModel, "infer", run_out_of_memory),
    "batch_exits": (encoder_model.EncoderModel, "infer", leave),
    "inference_hangs": (inference.OpenVINOInferenceCalculator, "_infer", hang),
    "load_has_no_memory": (inference, "compile_model_file", run_out_of_memory),
    "load_throws_bad_alloc": (inference, "compile_model_file", throw_bad_alloc),
    "inference_has_no_memory": (
        inference.OpenVINOInferenceCalculator,
        "_infer",
        run_out_of_memory,
    ),
    "inference_exits": (inference.OpenVINOInferenceCalculator, "_infer", leave),
    "read_fails": (ConfigSource, "find_changes", fail_to_read),
}
# Of the whole process.
LOOP_STALLS = "loop_stalls"


class Faults:
    """The folder whose files cause faults."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self) -> None:
        """Replace the functions, and watch for a fault of the event loop."""
        for name, (owner, function, fault) in FAULTS.items():
            setattr(owner, function, self._with_fault(name, getattr(owner, function), fault))
        watch_loop = WATCHDOG.watch_loop

        def watch(loop: asyncio.AbstractEventLoop) -> None:
            watch_loop(loop)
            threading.Thread(target=self._stall, args=(loop,), daemon=True).start()

        WATCHDOG.watch_loop = watch  # type: ignore[method-assign]

    def _with_fault(self, name: str, function: Any, fault: Fault) -> Any:
        @wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            amount = self._take(name, repeats=fault is not hang)
            if amount is not None:
                fault(amount)
            return function(*arguments, **keywords)

        return call

    def _stall(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            amount = self._take(LOOP_STALLS, repeats=False)
            if amount is not None:
                loop.call_soon_threadsafe(hang, amount)
            time.sleep(0.05)

    def _take(self, name: str, *, repeats: bool) -> float | None:
        """The number in the file of a fault, 0 if it is empty; None without the file.

        The file is removed, or counts down where the fault `repeats`.
        """
        path = self._folder / name
        try:
            amount = float(path.read_text() or 0)
            path.unlink()
        except OSError:
            return None
        if repeats and amount > 1:
            path.write_text(str(amount - 1))
        return amount


if __name__ == "__main__":
    Faults(Path(sys.argv.pop(1))).install()
    sys.exit(main())
