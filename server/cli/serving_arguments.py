"""How models are loaded, watched and stopped, as the command line says it."""

import os
from dataclasses import dataclass
from pathlib import Path

from server.errors import ConfigError
from server.graph import QueueDefaults
from server.models.residency.settings import ResidencySettings
from server.terminal.flag_parser import AddFlag, Switch
from server.terminal.flag_values import at_least, gigabytes, seconds

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
    split_special_tokens: bool
    hung_step_seconds: float
    hung_node_seconds: float
    stalled_loop_seconds: float
    idle_unload_timeout_seconds: float
    memory_budget_gb: float
    load_timeout_seconds: float
    load_wait_timeout_seconds: float
    max_requests_waiting_for_load: int
    max_num_queued_requests: int | None
    max_num_queued_tokens: int | None

    @property
    def residency(self) -> ResidencySettings:
        """Which models may be unloaded while they are configured."""
        budget = self.memory_budget_gb
        return ResidencySettings(
            self.idle_unload_timeout_seconds,
            int(budget * 10**9) if budget else None,
            self.load_wait_timeout_seconds,
            self.max_requests_waiting_for_load,
        )

    def queue_defaults(self) -> QueueDefaults:
        """What the queues of models are limited to, where their graphs do not say it."""
        return QueueDefaults(True, self.max_num_queued_requests, self.max_num_queued_tokens)

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
    _add_general_flags(add)
    _add_residency_flags(add)
    _add_watchdog_flags(add)
    _add_queue_flags(add)


def _add_general_flags(add: AddFlag) -> None:
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
    add(
        "--split_special_tokens",
        action=Switch,
        help="Take names of special tokens, such as <|im_end|>, that clients write into chats as "
        "plain text; only the chat template can write special tokens then.",
    )


def _add_residency_flags(add: AddFlag) -> None:
    add(
        "--idle_unload_timeout_seconds",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="Unload a model that got no request for this long; its next request loads it again "
        "(default: 0, never). group_name in config.json makes groups, and keeps models loaded.",
    )
    add(
        "--memory_budget_gb",
        type=gigabytes,
        default=0.0,
        metavar="GB",
        help="Memory for all models together, in 10^9 bytes. The least recently used models are "
        "unloaded to keep it, and loaded again by a request (default: 0, no limit).",
    )
    add(
        "--load_timeout_seconds",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="Give a model up whose load takes longer than this (default: 0, never). The log tells "
        "of a load that takes long in any case.",
    )
    add(
        "--load_wait_timeout_seconds",
        type=seconds,
        default=300.0,
        metavar="SECONDS",
        help="How long a request waits until its unloaded model is loaded (default: 300). Then it "
        "gets status 503.",
    )
    add(
        "--max_requests_waiting_for_load",
        type=at_least(1),
        default=1000,
        metavar="NUM",
        help="How many requests may wait for unloaded models (default: 1000). Others get status "
        "503 at once.",
    )


def _add_watchdog_flags(add: AddFlag) -> None:
    add(
        "--hung_step_seconds",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="A step of a model hangs when it takes longer than this and than 20 times what such "
        "steps took before: its requests get 503, and the model is loaded again (default: 30). 0 "
        "never gives a step up.",
    )
    add(
        "--hung_node_seconds",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="A request gets status 504 when a node of the user's, in Python, works on it for so "
        "long and neither takes nor gives a packet (default: 600). If the node has ended no later "
        "request meanwhile, its model is loaded again. 0 waits for ever.",
    )
    add(
        "--stalled_loop_seconds",
        type=seconds,
        default=120.0,
        metavar="SECONDS",
        help="End the process with exit code 70 when its event loop, which answers all requests, "
        "does nothing for so long (default: 120). 0 never ends it.",
    )


def _add_queue_flags(add: AddFlag) -> None:
    add(
        "--max_num_queued_requests",
        type=at_least(0),
        metavar="NUMBER",
        help="Most requests that wait for one model; above it they get status 503 at once "
        "(default: 1024, of embeddings and rerank 65536, of speech and images 64). Each prompt, "
        "answer, text or image of a request counts. 0 is no limit. The option of the same name in "
        "graph.pbtxt takes precedence.",
    )
    add(
        "--max_num_queued_tokens",
        type=at_least(0),
        metavar="NUMBER",
        help="Most tokens of prompts and texts that wait for one model; above it requests get "
        "status 503 (default: 1000000). 0 is no limit. The option of the same name in graph.pbtxt "
        "takes precedence.",
    )
