"""What the OpenVINO IRs of a tokenizer and of a detokenizer both need."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.errors import ModelLoadError
from server.host.openvino_core import shared_core
from server.host.openvino_errors import error_summary

__all__ = ["InferRequestPool", "find_ops", "read_tokenizer_ir"]

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


class InferRequestPool:
    """A compiled model with an infer request for each thread that uses it at the same time."""

    def __init__(self, model: Any) -> None:
        self._compiled = shared_core().compile_model(model, "CPU", _COMPILE_PROPERTIES)
        self._idle: list[Any] = [self._compiled.create_infer_request()]

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        """Lend an infer request that no other thread uses."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._idle.append(request)
