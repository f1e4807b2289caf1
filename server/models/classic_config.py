"""The keys of a config.json entry for a model without a graph, a "classic" model."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from server.errors import describe_value
from server.models.tasks import task_named

__all__ = ["CLASSIC_MODEL_KEYS", "ClassicConfig", "VersionPolicy"]

MAX_VERSION = 2**63 - 1

NO_PREPROCESSING = (
    "OVMS's preprocessing is not here yet; put it into the model with OpenVINO's PrePostProcessor, "
    "or into a calculator before the model"
)
NO_STATEFUL_MODELS = (
    "OVMS's stateful models are not here yet; make the state an input and an output of the model"
)
# Keys that OVMS has, or had once. A value that asks for something is refused with this reason.
REFUSED_KEYS: Mapping[str, str] = {
    "allow_cache": "leave it out: --cache_dir keeps the compiled form of every model",
    "color_format": NO_PREPROCESSING,
    "custom_loader_options": "OVMS's custom loaders are not here yet; put plain model files into "
    "the folder",
    "idle_sequence_cleanup": NO_STATEFUL_MODELS,
    "low_latency_transformation": NO_STATEFUL_MODELS,
    "max_sequence_number": NO_STATEFUL_MODELS,
    "mean": NO_PREPROCESSING,
    "precision": NO_PREPROCESSING,
    "scale": NO_PREPROCESSING,
    "stateful": NO_STATEFUL_MODELS,
}
CLASSIC_MODEL_KEYS = (
    "batch_size",
    "layout",
    "max_batch_size",
    "max_queue_delay_ms",
    "model_version_policy",
    "nireq",
    "options",
    "plugin_config",
    "shape",
    "target_device",
    "task",
    *REFUSED_KEYS,
)
# Options of a task's node that have a key of their own in an entry.
KEYS_OF_OPTIONS = {
    "device": "target_device",
    "models_path": "base_path",
    "plugin_config": "plugin_config",
    "target_device": "target_device",
}


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions are served: the `specific` ones, else the latest `num_latest`; 0 means all."""

    num_latest: int = 1
    specific: tuple[int, ...] = ()

    def choose(self, versions: Iterable[int]) -> tuple[int, ...]:
        """The versions to serve, in ascending order. Specific ones may be missing on disk."""
        if self.specific:
            return tuple(sorted(set(self.specific)))
        return tuple(sorted(versions)[-self.num_latest :])

    @classmethod
    def parse(cls, value: object) -> "VersionPolicy":
        """Read `model_version_policy`. Raises ValueError."""
        kind, arguments = next(iter(value.items())) if _is_single(value) else ("", None)
        match kind, arguments:
            case "all", {} if not arguments:
                return cls(num_latest=0)
            case "latest", {**rest} if rest.keys() <= {"num_versions"}:
                return cls(num_latest=_version(rest.get("num_versions", 1)))
            case "specific", {"versions": [_, *_] as versions, **rest} if not rest:
                return cls(specific=tuple(map(_version, versions)))
        raise ValueError(
            'must be {"all": {}}, {"latest": {"num_versions": 1}} or {"specific": {"versions": '
            f"[1]}}}}, found {_as_json(value)[:200]}"
        )


@dataclass(frozen=True, slots=True)
class ClassicConfig:
    """How a classic model is served: OpenVINOInferenceCalculator has options of the same names.

    `task` is what the model is for; empty where its files say it. `options` are those of the node
    of its task, a JSON object; empty without any. `problems` are the keys that ask for what is not
    here, each with the reason.
    """

    device: str = ""
    plugin_config: str = ""
    nireq: int = 0
    shape: str = ""
    batch_size: str = ""
    layout: str = ""
    max_batch_size: int = 0
    max_queue_delay_ms: int = 0
    task: str = ""
    options: str = ""
    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    problems: tuple[str, ...] = ()

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> "ClassicConfig":
        """Read the keys of an entry. Raises ValueError, which begins with the key."""
        parsers = {
            "target_device": ("device", _text),
            "plugin_config": ("plugin_config", _plugin_config),
            "nireq": ("nireq", _count),
            "shape": ("shape", _tensor_texts),
            "batch_size": ("batch_size", _batch_size),
            "layout": ("layout", _tensor_texts),
            "max_batch_size": ("max_batch_size", _count),
            "max_queue_delay_ms": ("max_queue_delay_ms", _count),
            "task": ("task", _task),
            "options": ("options", _options),
            "model_version_policy": ("version_policy", VersionPolicy.parse),
        }
        fields: dict[str, Any] = {}
        for key, (name, parse) in parsers.items():
            if key in entry:
                try:
                    fields[name] = parse(entry[key])
                except ValueError as error:
                    raise ValueError(f"{key} {error}") from None
        problems = (f"{key}: {why}" for key, why in REFUSED_KEYS.items() if entry.get(key))
        return cls(**fields, problems=tuple(problems))


def _is_single(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict) and len(value) == 1


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, found {describe_value(value)}")
    return value


def _task(value: object) -> str:
    return task_named(_text(value)).name


def _count(value: object) -> int:
    if not (type(value) is int and value >= 0):
        raise ValueError(f"must be an integer from 0, found {describe_value(value)}")
    return value


def _version(value: object) -> int:
    if not (type(value) is int and 1 <= value <= MAX_VERSION):
        raise ValueError(f"must hold integers from 1, found {describe_value(value)}")
    return value


def _batch_size(value: object) -> str:
    """A number, a range like 1:4, or auto."""
    return value if isinstance(value, str) else str(_count(value))


def _plugin_config(value: object) -> str:
    """An object; its values are the calculator's business."""
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, found {describe_value(value)}")
    return _as_json(value)


def _options(value: object) -> str:
    """An object; its names and values are the calculator's business."""
    text = _plugin_config(value)
    assert isinstance(value, dict)
    for name, key in KEYS_OF_OPTIONS.items():
        if name in value:
            raise ValueError(f"cannot hold {name}; the key {key} of the entry says it")
    return text if value else ""


def _tensor_texts(value: object) -> str:
    if isinstance(value, dict):
        return _as_json(value)
    if isinstance(value, str):
        return value
    raise ValueError(f"must be a string or an object, found {describe_value(value)}")


def _as_json(value: object) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:  # YAML has dates, for example
        raise ValueError(f"cannot be used: {error}") from error
