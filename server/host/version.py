"""Name and version of the installed package."""

from importlib import metadata

__all__ = ["DISTRIBUTION", "version"]

DISTRIBUTION = "openvino-graph-server"


def version() -> str:
    """The installed version; a source tree that was not installed has none."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed"
