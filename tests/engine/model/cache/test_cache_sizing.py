"""How many KV blocks are reserved."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_helpers import F32

from server.engine.config import DraftConfig, EngineConfig
from server.engine.kv.kv_cache import bytes_per_block
from server.engine.model import device as device_module
from server.engine.model.cache.cache_sizing import GIB, has_room_for_16_bits, num_kv_blocks
from server.engine.model.device import Device
from server.engine.model.model_loader import LoadedModel, load_model
from server.errors import ModelLoadError
from server.host.memory import RESERVATIONS


@pytest.fixture
def model(model_f32: Path) -> LoadedModel:
    return load_model(model_f32, "CPU", F32)


def blocks(
    monkeypatch: pytest.MonkeyPatch,
    model: LoadedModel,
    free: int,
    max_model_len: int | None = None,
    **fields: int,
) -> int:
    monkeypatch.setattr(device_module, "available_bytes", lambda: free + RESERVATIONS.total_bytes)
    return num_kv_blocks(EngineConfig(Path("m"), **fields), model, max_model_len)


def test_cache_size_is_gigabytes(monkeypatch: pytest.MonkeyPatch, model: LoadedModel) -> None:
    expected = 2 * GIB // bytes_per_block(model.kv_inputs)
    assert blocks(monkeypatch, model, 5 * GIB, cache_size=2) == expected


def test_num_kv_blocks_overrides_cache_size(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    assert blocks(monkeypatch, model, 0, cache_size=2, num_kv_blocks=7) == 7


def test_more_than_the_free_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    with pytest.raises(ModelLoadError, match=r"cache_size is 3 GB, but only 2\.5 GB"):
        blocks(monkeypatch, model, 5 * GIB // 2, cache_size=3)


def test_by_default_half_of_the_free_memory_is_reserved(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    expected = GIB // bytes_per_block(model.kv_inputs)
    assert blocks(monkeypatch, model, 2 * GIB) == expected


def test_a_cache_for_stated_tokens_takes_no_more_than_half_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    half = GIB // bytes_per_block(model.kv_inputs)
    assert blocks(monkeypatch, model, 2 * GIB, 4096, max_cached_tokens=5000) == 157
    assert blocks(monkeypatch, model, 2 * GIB, max_cached_tokens=32 * half + 1) == half


def test_by_default_no_more_is_reserved_than_can_be_used(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    assert blocks(monkeypatch, model, 64 * GIB, max_model_len=65, max_num_seqs=4) == 12


@pytest.mark.parametrize(
    ("max_model_len", "num_seqs", "short_bytes", "has_room"),
    [(None, 4, 0, True), (None, 4, 1, False), (40, 64, 0, True), (40, 65, 0, False)],
)
def test_16_bits_an_element_need_room_for_all_sequences(
    monkeypatch: pytest.MonkeyPatch,
    model: LoadedModel,
    max_model_len: int | None,
    num_seqs: int,
    short_bytes: int,
    has_room: bool,
) -> None:
    """128 blocks: 4 sequences of 1024 tokens, or 64 of two blocks each."""
    wide_bytes = 2 * bytes_per_block(model.kv_inputs)
    free = 2 * 128 * wide_bytes - short_bytes
    monkeypatch.setattr(device_module, "available_bytes", lambda: free + RESERVATIONS.total_bytes)
    config = EngineConfig(Path("m"), max_num_seqs=num_seqs)
    assert has_room_for_16_bits(config, model, max_model_len) == has_room
    config = EngineConfig(Path("m"), num_kv_blocks=128, max_num_seqs=10_000)
    assert has_room_for_16_bits(config, model, max_model_len) == (short_bytes == 0)


def test_too_little_for_one_block_is_refused(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    with pytest.raises(ModelLoadError, match="1000 bytes of memory are free, too few"):
        blocks(monkeypatch, model, 1000)


def test_the_memory_of_a_device_counts_for_its_cache(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    class Gpu(Device):
        def free_bytes(self) -> int:
            return 4 * GIB

    gpu = replace(model, device=Gpu("GPU.0"))
    assert blocks(monkeypatch, gpu, 0) == 2 * GIB // bytes_per_block(model.kv_inputs)


def test_memory_that_other_models_reserved_is_not_free(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    free = 3 * GIB + RESERVATIONS.total_bytes
    monkeypatch.setattr(device_module, "available_bytes", lambda: free)
    config = EngineConfig(Path("m"), cache_size=2)
    num_kv_blocks(config, model, None)
    RESERVATIONS.add(2 * GIB)
    try:
        with pytest.raises(ModelLoadError, match=r"only 1\.0 GB"):
            num_kv_blocks(config, model, None)
    finally:
        RESERVATIONS.remove(2 * GIB)


@pytest.mark.parametrize(
    ("cache_size", "draft_cache_size", "expected_bytes"),
    [(2, 0, 2 * GIB), (0, 0, 4 * GIB), (3, 1, 2 * GIB), (2, 7, 2 * GIB)],
)
def test_a_draft_model_has_as_many_blocks_of_the_same_memory(
    monkeypatch: pytest.MonkeyPatch,
    model: LoadedModel,
    cache_size: int,
    draft_cache_size: int,
    expected_bytes: int,
) -> None:
    """The model is its own draft model, so each of the two has half."""
    free = 8 * GIB + RESERVATIONS.total_bytes
    monkeypatch.setattr(device_module, "available_bytes", lambda: free)
    draft = DraftConfig(Path("d"), cache_size=draft_cache_size)
    config = EngineConfig(Path("m"), cache_size=cache_size, draft=draft)
    expected = expected_bytes // (2 * bytes_per_block(model.kv_inputs))
    assert num_kv_blocks(config, model, None, draft=model) == expected


def test_more_for_a_draft_model_than_the_free_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel
) -> None:
    free = 2 * GIB + RESERVATIONS.total_bytes
    monkeypatch.setattr(device_module, "available_bytes", lambda: free)
    config = EngineConfig(Path("m"), draft=DraftConfig(Path("d"), cache_size=3))
    with pytest.raises(ModelLoadError, match=r"draft_cache_size is 3 GB, but only 2\.0 GB"):
        num_kv_blocks(config, model, None, draft=model)
