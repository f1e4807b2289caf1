"""The libraries of the extra `[media]`, which the serving install does without."""

from importlib.util import find_spec

from server.errors import ModelLoadError

__all__ = ["check_media_libraries"]


def check_media_libraries(*names: str) -> None:
    """Raise ModelLoadError if one is not installed; none is imported."""
    for name in names:
        if find_spec(name) is None:
            raise ModelLoadError(
                f"speech and images need the Python package {name!r} of the extra [media]: "
                "pip install '.[media]'"
            )
