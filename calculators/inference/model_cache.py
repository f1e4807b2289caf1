"""The server's folder for compiled models, as a property of OpenVINO."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["with_cache_dir"]


def with_cache_dir(plugin_config: Mapping[str, Any], cache_dir: Path | None) -> dict[str, Any]:
    """Add CACHE_DIR to the properties, if the server has a folder and the graph names none."""
    server_wide = {} if cache_dir is None else {"CACHE_DIR": str(cache_dir)}
    return {**server_wide, **plugin_config}
