"""The keys of a config.json entry that are for a model without a graph, a "classic" model."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from server.errors import describe_value

__all__ = ["CLASSIC_MODEL_KEYS", "ClassicConfig", "VersionPolicy"]

MAX_VERSION = 2**63 - 1

TEXT_KEYS = ("target_device",)
# One text for the only tensor, or an object with a text for each.
TENSOR_KEYS = ("layout", "shape")
# Model Server knows these, or did once; they have no effect here.
UNSUPPORTED_KEYS = (
    "allow_cache",
    "color_format",
    "custom_loader_options",
    "mean",
    "precision",
    "scale",
)
CLASSIC_MODEL_KEYS = (
    *TEXT_KEYS,
    *TENSOR_KEYS,
    *UNSUPPORTED_KEYS,
    "batch_size",
    "model_version_policy",
    "nireq",
    "plugin_config",
)


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions are served: `specific` ones, else the `num_latest`; 0 stands for all."""

    num_latest: int = 1
    specific: tuple[int, ...] = ()

    def choose(self, versions: Iterable[int]) -> tuple[int, ...]:
        """The versions to serve, in ascending order; specific ones also where they are not."""
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
    """How a classic model is served, in the words of OpenVINOInferenceCalculator's options.

    `unsupported` are keys with values that ask for what there is not.
    """

    device: str = ""
    plugin_config: str = ""
    nireq: int = 0
    shape: str = ""
    batch_size: str = ""
    layout: str = ""
    version_policy: VersionPolicy = field(default_factory=VersionPolicy)
    unsupported: tuple[str, ...] = ()

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
            "model_version_policy": ("version_policy", VersionPolicy.parse),
        }
        fields: dict[str, Any] = {}
        for key, (name, parse) in parsers.items():
            if key in entry:
                try:
                    fields[name] = parse(entry[key])
                except ValueError as error:
                    raise ValueError(f"{key} {error}") from None
        unsupported = (key for key in UNSUPPORTED_KEYS if entry.get(key))
        return cls(**fields, unsupported=tuple(unsupported))


def _is_single(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict) and len(value) == 1


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, found {describe_value(value)}")
    return value


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
