"""The libraries of the extra `[media]`, which the serving install does without."""

from collections.abc import Iterator
from contextlib import contextmanager

from server.errors import ModelLoadError

__all__ = ["media_libraries"]


@contextmanager
def media_libraries() -> Iterator[None]:
    """What stands around the imports; raises ModelLoadError where a library is not installed."""
    try:
        yield
    except ImportError as error:
        raise ModelLoadError(
            f"speech and images need the Python package {error.name!r}: pip install '.[media]'"
        ) from error
