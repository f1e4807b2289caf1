"""Parameters of single tensors, which are Triton's: the server knows two of them."""

from collections.abc import Iterable, Mapping

from server.errors import InvalidRequestError

__all__ = ["refuse_parameters"]

# Without them the answer would be another one. All others are ignored, as by Model Server.
REFUSED: Mapping[str, str] = {
    "classification": "classes are not named; the scores are in the tensor",
    "shared_memory_byte_size": "shared memory is not supported",
    "shared_memory_offset": "shared memory is not supported",
    "shared_memory_region": "shared memory is not supported",
}


def refuse_parameters(names: Iterable[str], where: str) -> None:
    """Raise InvalidRequestError for a parameter of the tensor at `where` that cannot be had."""
    for name in names:
        if name in REFUSED:
            problem = f"{where} has the parameter {name!r}: {REFUSED[name]}"
            raise InvalidRequestError(problem, where)
