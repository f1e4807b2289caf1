"""EngineConfig refuses what cannot work."""

from pathlib import Path

import pytest

from server.engine.config import EngineConfig
from server.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "lowest"),
    [
        ("cache_size", -1, 0),
        ("num_kv_blocks", -1, 0),
        ("max_num_batched_tokens", 0, 1),
        ("max_num_seqs", 0, 1),
    ],
)
def test_refuses_values_below_the_lowest(name: str, value: int, lowest: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}; it must be at least {lowest}"):
        EngineConfig(Path("model"), **{name: value})
    EngineConfig(Path("model"), **{name: lowest})
