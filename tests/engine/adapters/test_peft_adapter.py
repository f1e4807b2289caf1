"""Adapters in PEFT's files: what is read, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.adapters.peft_files import write_adapter

from server.engine.adapters.module_names import find_modules
from server.engine.adapters.peft_adapter import ModuleShape, PeftAdapter
from server.errors import ModelLoadError

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"
MODULES = {Q: (12, 8), V: (12, 6)}
TENSOR = f"base_model.model.{Q}.lora_A.weight"
WEIGHTS = "adapter_model.safetensors"


def scales(folder: Path, **config: Any) -> dict[str, float]:
    """What the second matrices are multiplied by."""
    path = write_adapter(folder, MODULES, 0, **config)
    written = load_file(path / WEIGHTS)
    found = {}
    for name, low_rank in PeftAdapter.find(path).read(1.0).items():
        second = written[f"base_model.model.{name}.lora_B.weight"].T
        found[name] = float((low_rank.b / second).mean())
        assert np.allclose(low_rank.b, second * found[name])
        assert np.array_equal(low_rank.a, written[f"base_model.model.{name}.lora_A.weight"].T)
    return found


def test_the_scale_is_alpha_over_rank(tmp_path: Path) -> None:
    assert scales(tmp_path, r=4, lora_alpha=8) == pytest.approx({Q: 2, V: 2})


def test_rslora_divides_by_the_root_of_the_rank(tmp_path: Path) -> None:
    found = scales(tmp_path, r=4, lora_alpha=8, use_rslora=True)
    assert found == pytest.approx({Q: 4, V: 4})


def test_patterns_change_single_modules(tmp_path: Path) -> None:
    assert scales(tmp_path, alpha_pattern={"v_proj": 2}) == pytest.approx({Q: 2, V: 0.5})
    pattern = {r"model.layers.\d+.self_attn.q_proj": 1}
    assert scales(tmp_path, alpha_pattern=pattern) == pytest.approx({Q: 0.25, V: 2})


def test_a_rank_pattern_is_checked(tmp_path: Path) -> None:
    path = write_adapter(tmp_path, MODULES, 0, rank_pattern={"q_proj": 2})
    with pytest.raises(ModelLoadError, match=r"q_proj has the rank 4, but .* says 2"):
        PeftAdapter.find(path)


def test_a_file_of_its_own(tmp_path: Path) -> None:
    path = write_adapter(tmp_path, MODULES, 0)
    adapter = PeftAdapter.find(path / WEIGHTS)
    assert adapter.shapes == {Q: ModuleShape(12, 8, 4), V: ModuleShape(12, 6, 4)}
    assert adapter.rank == 4


def test_tools_that_write_the_name_of_the_adapter(tmp_path: Path) -> None:
    path = write_adapter(tmp_path, MODULES, 0)
    tensors = load_file(path / WEIGHTS)
    renamed = {name.replace(".weight", ".default.weight"): t for name, t in tensors.items()}
    save_file(renamed, path / WEIGHTS)
    assert set(PeftAdapter.find(path).shapes) == {Q, V}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only LORA"),
        ({"bias": "all"}, "bias is 'all'; only none"),
        ({"use_dora": True}, "use_dora is not supported"),
        ({"lora_bias": True}, "lora_bias is not supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is not supported"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is not supported"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4'"),
        ({"lora_alpha": "8"}, "lora_alpha is the string '8'"),
        ({"lora_alpha": 10**400}, "lora_alpha is a huge number"),
        ({"alpha_pattern": {"(": 1}}, r"alpha_pattern has '\('"),
        ({"rank_pattern": [1]}, "rank_pattern is a list"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(
    tmp_path: Path, config: dict[str, Any], problem: str
) -> None:
    path = write_adapter(tmp_path, MODULES, 0, **config)
    with pytest.raises(ModelLoadError, match=f"adapter_config.json: {problem}"):
        PeftAdapter.find(path)


def test_a_rank_that_is_no_number(tmp_path: Path) -> None:
    path = write_adapter(tmp_path, MODULES, 0)
    (path / "adapter_config.json").write_text(json.dumps({"r": 0}))
    with pytest.raises(ModelLoadError, match="r is the number 0; it must be a positive integer"):
        PeftAdapter.find(path)


def changed(path: Path, tensors: dict[str, Any]) -> Path:
    """The adapter with these tensors; None takes one away."""
    found = {**load_file(path / WEIGHTS), **tensors}
    save_file({name: t for name, t in found.items() if t is not None}, path / WEIGHTS)
    return path


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({TENSOR: None}, f"{Q} lacks its matrix lora_A"),
        ({TENSOR: np.zeros((3, 12), "f4")}, "matrices of the ranks 3 and 4"),
        ({TENSOR: np.zeros((4, 12, 1), "f4")}, r"has the shape \[4, 12, 1\]"),
        ({f"x.{Q}.lora_magnitude_vector": np.zeros(8, "f4")}, "DoRA is not supported"),
        ({"x.embed_tokens.lora_embedding_A": np.zeros(8, "f4")}, "embeddings are not supported"),
        ({f"base_model.model.{Q}.lora_B.bias": np.zeros(8, "f4")}, "biases are not supported"),
        ({"base_model.model.lm_head.weight": np.zeros((2, 2), "f4")}, "no matrix of a linear"),
    ],
)
def test_tensors_that_are_refused(tmp_path: Path, tensors: dict[str, Any], problem: str) -> None:
    path = changed(write_adapter(tmp_path, MODULES, 0), tensors)
    with pytest.raises(ModelLoadError, match=problem):
        PeftAdapter.find(path)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    path = changed(write_adapter(tmp_path, MODULES, 0), {TENSOR: np.full((4, 12), np.nan, "f4")})
    with pytest.raises(ModelLoadError, match="has values that are no numbers"):
        PeftAdapter.find(path).read(1.0)


def test_values_that_overflow_with_the_factor_of_the_adapter(tmp_path: Path) -> None:
    path = write_adapter(tmp_path, MODULES, 0, lora_alpha=1e300)
    with pytest.raises(ModelLoadError, match="values that are too large with its factor of 2.5e"):
        PeftAdapter.find(path).read(1.0)


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no such file"):
        PeftAdapter.find(tmp_path)
    (tmp_path / "adapter_model.bin").touch()
    with pytest.raises(ModelLoadError, match=r"adapter_model.bin may run code"):
        PeftAdapter.find(tmp_path)
    path = write_adapter(tmp_path / "a", MODULES, 0)
    (path / "adapter_config.json").unlink()
    with pytest.raises(ModelLoadError, match="adapter_config.json: no such file"):
        PeftAdapter.find(path)


def test_names_that_begin_otherwise(tmp_path: Path) -> None:
    adapter = PeftAdapter.find(write_adapter(tmp_path, MODULES, 0))
    for prefix in ("", "model.", "language_model."):
        model = {f"{prefix}{name}": ModuleShape(*sizes, 0) for name, sizes in MODULES.items()}
        assert find_modules(adapter, model) == {name: f"{prefix}{name}" for name in MODULES}
    shorter = {name.removeprefix("model."): ModuleShape(*s, 0) for name, s in MODULES.items()}
    assert find_modules(adapter, shorter)[Q] == Q.removeprefix("model.")


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("lm_head", "is the output head; adapters of it are not supported"),
        ("model.layers.0.mlp.experts.3.up_proj", "belongs to experts"),
        (
            "model.layers.0.mlp.fc1",
            "it has layers with q_proj; the adapter was made for 'org/base'",
        ),
    ],
)
def test_modules_that_the_model_does_not_have(tmp_path: Path, module: str, problem: str) -> None:
    adapter = PeftAdapter.find(write_adapter(tmp_path, {module: (12, 8)}, 0))
    with pytest.raises(ModelLoadError, match=problem):
        find_modules(adapter, {Q: ModuleShape(12, 8, 0)})


def test_shapes_of_another_model(tmp_path: Path) -> None:
    adapter = PeftAdapter.find(write_adapter(tmp_path, MODULES, 0))
    model = {Q: ModuleShape(16, 8, 0), V: ModuleShape(12, 6, 0)}
    with pytest.raises(ModelLoadError, match="from 12 values to 8, in this model from 16 to 8"):
        find_modules(adapter, model)


VISION = "model.vision_tower.encoder.layers.0.self_attn.q_proj"


def test_layers_of_another_part_that_are_called_alike(tmp_path: Path) -> None:
    adapter = PeftAdapter.find(write_adapter(tmp_path, {VISION: (12, 8)}, 0))
    with pytest.raises(ModelLoadError, match=rf"{VISION} is in another part \(vision\)"):
        find_modules(adapter, {Q: ModuleShape(12, 8, 0)})


def test_two_layers_cannot_mean_the_same_one(tmp_path: Path) -> None:
    names = (Q, f"draft.{Q}")
    adapter = PeftAdapter.find(write_adapter(tmp_path, dict.fromkeys(names, (12, 8)), 0))
    with pytest.raises(ModelLoadError, match=f"are both called like {Q}"):
        find_modules(adapter, {Q: ModuleShape(12, 8, 0)})
