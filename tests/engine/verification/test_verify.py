"""A model is compared with its stateful IR; what is wrong is found, and where it begins."""

import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from support.engine_helpers import change_config

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.kv.state_cache_manager import StateCacheManager
from server.engine.model.attention import PLAIN_ATTENTION, AttentionForm
from server.engine.model.loading import graph_form
from server.engine.model.verification_record import read_record, write_record
from server.engine.sequence import Sequence, StateBlocks
from server.engine.verification import verify as verify_module
from server.engine.verification.compare import TOLERANCE
from server.engine.verification.paged import MODES
from server.engine.verification.stateful import vocab_size_of
from server.engine.verification.verify import choose_lengths, verify
from server.errors import ModelLoadError
from server.host.model_files import MODEL_FILE, RECORD_FILE

CACHED = "a prefix from the cache"


def test_a_good_model_passes_in_every_mode(model_f32: Path) -> None:
    modes: list[str] = []
    found = verify(model_f32, modes.append)
    assert found.has_passed, found.differences
    assert set(MODES) < set(modes)
    assert found.max_difference < 1e-3
    assert found.max_difference < found.served_difference < 0.5
    assert found.num_tokens > 1000


def test_rounded_activations_are_no_fault(model_f32: Path, tmp_path: Path) -> None:
    """A tiny difference before a rounding is one of a whole level behind it."""
    folder = tmp_path / "model"
    shutil.copytree(model_f32, folder)
    model = ov.Core().read_model(model_f32 / MODEL_FILE)
    low, high = (ops.constant(np.float32(limit)) for limit in (-8, 8))
    for node in [node for node in model.get_ops() if node.get_type_name() == "MatMul"]:
        quantized = ops.fake_quantize(node.input_value(0), low, high, low, high, 256)
        node.input(0).replace_source_output(quantized.output(0))
    ov.save_model(model, folder / MODEL_FILE, compress_to_fp16=False)
    found = verify(folder, lambda _: None)
    assert found.has_passed
    assert found.max_difference > TOLERANCE


def test_a_window_that_is_wrong_is_found_where_it_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_attention(model: ov.Model, *_: object, **__: object) -> AttentionForm:
        for node in model.get_ordered_ops():
            if node.get_type_name() == "PagedAttentionExtension":
                node.input(10).replace_source_output(ops.constant(np.int32(32)).output(0))
        return PLAIN_ATTENTION

    monkeypatch.setattr(graph_form, "complete_attention", cut_attention)
    found = verify(folder, lambda _: None)
    assert not found.has_passed
    assert {difference.where for difference in found.differences} == {*MODES}
    for difference in found.differences:
        assert difference.position > 32
        assert difference.where in str(difference)
        assert f"from token {difference.position} of" in str(difference)


def test_states_that_do_not_belong_to_a_prefix_are_found(
    hybrid_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "MODES", {CACHED: {}})
    monkeypatch.setattr(verify_module, "PROMPT_LENGTHS", ())
    monkeypatch.setattr(verify_module, "LONG_PROMPT", 70)
    assert verify(hybrid_model, lambda _: None).has_passed
    real = StateCacheManager.attach_cached_prefix

    def attach_without_states(manager: StateCacheManager, sequence: Sequence) -> int:
        num_tokens = real(manager, sequence)
        assert sequence.states is not None
        manager._release(sequence.states.current)
        zero = manager.layout.zero_block
        sequence.states = StateBlocks(zero, zero)
        return num_tokens

    monkeypatch.setattr(StateCacheManager, "attach_cached_prefix", attach_without_states)
    (difference,) = verify(hybrid_model, lambda _: None).differences
    assert difference.where == CACHED
    assert difference.position >= 70


def test_prompts_go_beyond_what_config_json_names(folder: Path) -> None:
    change_config(folder, max_position_embeddings=4096, sliding_window=900)
    lengths, notes = choose_lengths(folder)
    assert (max(lengths) > 900, notes) == (True, [])
    change_config(folder, max_position_embeddings=4096, sliding_window=4096)
    assert choose_lengths(folder)[1] == []
    change_config(folder, model_type="qwen2", use_sliding_window=False, sliding_window=3000)
    assert choose_lengths(folder)[1] == []
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 700}
    change_config(folder, rope_scaling=None, rope_parameters=rope)
    assert max(choose_lengths(folder)[0]) == 740
    change_config(folder, model_type="llama", sliding_window="many")
    with pytest.raises(ModelLoadError, match="sliding_window is 'many'"):
        choose_lengths(folder)
    change_config(folder, sliding_window=3000)
    lengths, notes = choose_lengths(folder)
    assert max(lengths) <= 2048
    assert notes == ["nothing beyond sliding_window 3000 was tried: prompts had up to 2048 tokens"]


def test_a_short_context(folder: Path) -> None:
    change_config(folder, max_position_embeddings=32)
    assert choose_lengths(folder)[0] == [7, 16]
    change_config(folder, max_position_embeddings=16)
    with pytest.raises(ModelLoadError, match="too short to verify"):
        choose_lengths(folder)


def test_the_vocabulary_is_that_of_the_graph(folder: Path) -> None:
    size = vocab_size_of(folder)
    (folder / "config.json").unlink()
    assert vocab_size_of(folder) == size > 100
    assert max(choose_lengths(folder)[0]) == 300, "config.json is not needed"


def test_a_record_is_of_one_model(folder: Path) -> None:
    assert read_record(folder) is None
    write_record(folder, {"passed": True, "differences": []}, "1.0")
    record = read_record(folder)
    assert record is not None
    assert (record["passed"], record["server"]) == (True, "1.0")
    with (folder / "openvino_model.bin").open("ab") as weights:
        weights.write(b"\0")
    assert read_record(folder) is None


def test_a_model_that_has_not_passed_is_not_loaded(folder: Path) -> None:
    write_record(folder, {"passed": False, "differences": ["alone: from token 3 on"]}, "1.0")
    with pytest.raises(ModelLoadError, match="its answers are wrong: alone: from token 3 on; "):
        LLMEngine(EngineConfig(folder, num_kv_blocks=10))


def test_the_status_says_whether_a_model_was_verified(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = LLMEngine(EngineConfig(folder, num_kv_blocks=10))
    engine.close()
    assert engine.status["verified"] is None
    assert f"`server --verify {folder}`" in caplog.text
    write_record(folder, {"passed": True, "differences": [], "longest": 316}, "1.0")
    engine = LLMEngine(EngineConfig(folder, num_kv_blocks=10))
    engine.close()
    assert engine.status["verified"]["longest"] == 316


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 1}', "\0", "[" * 100_000])
def test_a_broken_record_is_none(folder: Path, text: str) -> None:
    (folder / RECORD_FILE).write_text(text)
    assert read_record(folder) is None
