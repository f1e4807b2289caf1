"""How models are loaded, watched and stopped, as the command line says it."""

import os
from dataclasses import dataclass
from pathlib import Path

from server.errors import ConfigError
from server.terminal.flag_parser import AddFlag, Switch
from server.terminal.flag_values import at_least, seconds

__all__ = ["ServingArguments", "add_serving_flags"]

DEFAULT_CACHE_DIR = Path("/opt/cache")


@dataclass(frozen=True, slots=True)
class ServingArguments:
    """The flags about loaded models."""

    drain_timeout_s: float
    file_system_poll_wait_seconds: float
    cache_dir: Path | None
    no_auto_tune: bool
    chat_template_time_limit_ms: int | None

    def make_cache_dir(self) -> Path | None:
        """The folder for compiled models, if there is to be one. Raises ConfigError."""
        if self.cache_dir is None:
            return DEFAULT_CACHE_DIR if os.access(DEFAULT_CACHE_DIR, os.W_OK) else None
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--cache_dir {self.cache_dir}: {error.strerror}") from error
        if not os.access(self.cache_dir, os.W_OK):
            raise ConfigError(f"--cache_dir {self.cache_dir}: cannot be written to")
        return self.cache_dir.absolute()


def add_serving_flags(add: AddFlag) -> None:
    """Add the flags of a `ServingArguments`."""
    add(
        "--drain_timeout_s",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="Time that running requests have to end when the server stops or their model is "
        "replaced (default: 30).",
    )
    add(
        "--file_system_poll_wait_seconds",
        type=seconds,
        default=1.0,
        metavar="SECONDS",
        help="How often to look for changed configuration and model files (default: 1). 0 never "
        "looks.",
    )
    add(
        "--cache_dir",
        type=Path,
        metavar="FOLDER",
        help="Folder for compiled models, so that they load faster next time (default: /opt/cache "
        "if it exists). CACHE_DIR in a model's plugin_config takes precedence. OpenVINO cannot "
        "keep LLMs for a CPU.",
    )
    add(
        "--no_auto_tune",
        action=Switch,
        help="Do not measure at the first load of an LLM which properties are fastest here, and do "
        "not use earlier results. plugin_config alone counts then.",
    )
    add(
        "--chat_template_time_limit_ms",
        type=at_least(1),
        metavar="MS",
        help="How long a chat template may take for one conversation (default: 2000, or what a "
        "graph says).",
    )
