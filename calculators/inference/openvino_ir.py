"""What the OpenVINO IRs of a tokenizer and of a detokenizer both need."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from server.errors import ModelLoadError
from server.host.openvino_core import shared_core
from server.host.openvino_errors import error_summary
from server.host.process_memory import give_back_free_memory

__all__ = ["InferRequestPool", "find_ops", "read_tokenizer_ir"]

T = TypeVar("T")

# A text is encoded on the caller's thread, so that no core is taken from the language model.
_COMPILE_PROPERTIES = {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}


def read_tokenizer_ir(path: Path, purpose: str) -> Any:
    """Read an IR that openvino_tokenizers made; raises ModelLoadError with what is needed."""
    for part in (path, path.with_suffix(".bin")):
        if not part.is_file():
            raise ModelLoadError(
                f"{part}: no such file; {purpose} needs {path.name} and "
                f"{path.with_suffix('.bin').name} beside the model. Export the model with "
                "export_model, or run `convert_tokenizer <Hugging Face folder> --with-detokenizer "
                f"-o {path.parent}` of openvino-tokenizers"
            )
    try:
        # If a mapped file is changed or shortened, the process crashes.
        return shared_core().read_model(path, config={"ENABLE_MMAP": False})
    except RuntimeError as error:
        raise ModelLoadError(
            f"{path}: cannot be read as an OpenVINO model ({error_summary(error)}); export it "
            "again, with the openvino-tokenizers version that is installed here if it came from "
            "another one"
        ) from error


def find_ops(model: Any, type_name: str) -> list[Any]:
    """Return the operations of one type, in topological order."""
    return [op for op in model.get_ordered_ops() if op.get_type_name() == type_name]


# A tokenizer takes some 50 bytes for each byte of text, and its infer request keeps them.
MAX_KEPT_BYTES = 128 * 1024
# Texts that take much memory are encoded one after the other, whichever models they are for.
_turn_of_large_texts = threading.Lock()


class InferRequestPool:
    """A compiled model with an infer request for each thread that uses it at the same time.

    An infer request that had a large text is not used again: it would keep the memory.
    """

    def __init__(self, model: Any) -> None:
        self._compiled = shared_core().compile_model(model, "CPU", _COMPILE_PROPERTIES)
        self._idle: list[Any] = [self._compiled.create_infer_request()]

    def run(self, use: Callable[[Any], T], num_bytes: int = 0) -> T:
        """What `use` returns, given an infer request that no other thread has.

        `num_bytes` is the size of the text; `use` must not keep a part of the infer request.
        """
        if num_bytes > MAX_KEPT_BYTES:
            with _turn_of_large_texts:
                try:
                    return use(self._compiled.create_infer_request())
                finally:
                    self._compiled.release_memory()
                    give_back_free_memory()
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            return use(request)
        finally:
            self._idle.append(request)
