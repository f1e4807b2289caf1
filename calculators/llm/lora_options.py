"""LoRA adapters as options of a node name them, in OpenVINO Model Server's form."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["AdapterMode", "LoraAdapter", "find_adapter_problems"]


class AdapterMode(IntEnum):
    """How adapters join the model.

    DYNAMIC lets each request choose. STATIC and FUSE apply all of them to every request; FUSE adds
    them to the weights, which costs no time afterwards.
    """

    DYNAMIC = 0
    STATIC = 1
    FUSE = 2


@dataclass(frozen=True)
class LoraAdapter:
    """An adapter file, and the name under which requests find it."""

    alias: str
    path: str
    alpha: float = 1.0
    mode: AdapterMode = AdapterMode.DYNAMIC


def find_adapter_problems(adapters: Sequence[LoraAdapter]) -> Iterator[str]:
    """What a text model cannot do with these adapters."""
    aliases = [adapter.alias for adapter in adapters]
    for adapter in adapters:
        if not adapter.alias or not adapter.path:
            yield "lora_adapters has an adapter without alias or path"
        elif aliases.count(adapter.alias) > 1:
            yield f"two adapters have the alias {adapter.alias!r}"
        if not math.isfinite(adapter.alpha):
            yield f"lora_adapters: {adapter.alias!r} has the alpha {adapter.alpha}"
        if adapter.mode is not AdapterMode.DYNAMIC:
            yield (
                f"lora_adapters: {adapter.alias!r} has the mode {adapter.mode.name}; possible for "
                "a text model: DYNAMIC"
            )
