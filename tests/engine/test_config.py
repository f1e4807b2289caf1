"""EngineConfig refuses what cannot work."""

from pathlib import Path

import pytest

from server.engine.config import EngineConfig
from server.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value", "lowest"),
    [
        ("cache_size", -1, 0),
        ("max_cached_tokens", -1, 0),
        ("num_kv_blocks", -1, 0),
        ("max_num_batched_tokens", 0, 1),
        ("max_num_seqs", 0, 1),
        ("target_inter_token_latency_ms", -1, 0),
    ],
)
def test_refuses_values_below_the_lowest(name: str, value: int, lowest: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}; it must be at least {lowest}"):
        EngineConfig(Path("model"), **{name: value})
    EngineConfig(Path("model"), **{name: lowest})


@pytest.mark.parametrize(
    ("split_fuse", "target_ms", "target_s"),
    [(True, None, None), (True, 50, 0.05), (True, 0, 0.0), (False, None, 0.0), (False, 0, 0.0)],
)
def test_the_target_between_tokens(
    split_fuse: bool, target_ms: int | None, target_s: float | None
) -> None:
    config = EngineConfig(
        Path("model"), dynamic_split_fuse=split_fuse, target_inter_token_latency_ms=target_ms
    )
    assert config.target_s == target_s


def test_a_target_needs_chunks() -> None:
    with pytest.raises(ConfigError, match="latency_ms is 50; without dynamic_split_fuse"):
        EngineConfig(Path("model"), dynamic_split_fuse=False, target_inter_token_latency_ms=50)


def test_where_progress_goes_does_not_make_configurations_differ() -> None:
    told: list[tuple[str, float]] = []
    config = EngineConfig(Path("model"), on_progress=lambda *news: told.append(news))
    assert config == EngineConfig(Path("model"))
    config.report_progress("compiling", 0.5)
    EngineConfig(Path("model")).report_progress("nobody listens", 0.5)
    assert told == [("compiling", 0.5)]
