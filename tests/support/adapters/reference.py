"""Small models with adapters, and what transformers answers with them. As a script: makes them.

    python -m support.adapters.reference FOLDER

PEFT is no dependency of the tests. Its forward pass is `y + (x @ A.T) @ B.T * scale` for a linear
layer (peft, tuners/lora/layer.py), which hooks do here; its scale is computed from the adapter's
configuration as it documents it.
"""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from support.adapters.peft_files import ending_with, modules_of, write_adapter

NUM_TOKENS = 10
PROMPT_LENGTHS = (5, 40, 17, 33, 64, 9, 70, 58)
VOCAB_SIZE = 320
REFERENCE = "reference.json"
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ALL = ("_proj",)
# The class of the configuration, and the layers that adapters change.
KINDS = {
    "llama": ("LlamaConfig", ALL),
    "qwen2": ("Qwen2Config", ("q_proj", "v_proj", "down_proj")),
    "phi3": ("Phi3Config", ("qkv_proj", "gate_up_proj", "o_proj")),
}
# Of each adapter: the configuration, and whether it changes the first kind of layers only.
ADAPTERS: tuple[tuple[dict[str, Any], bool], ...] = (
    ({"r": 4, "lora_alpha": 8}, False),
    ({"r": 8, "lora_alpha": 4, "use_rslora": True}, False),
    ({"r": 2, "lora_alpha": 5}, True),
    ({"r": 16, "lora_alpha": 8}, False),
    ({"r": 4, "lora_alpha": 6, "alpha_pattern": {"v_proj": 2, "o_proj": 12}}, False),
    ({"r": 3, "lora_alpha": 3, "fan_in_fan_out": True}, False),
    ({"r": 8, "lora_alpha": 16}, True),
    ({"r": 1, "lora_alpha": 1}, False),
)


def prompts() -> list[list[int]]:
    """Random tokens, of lengths around the size of a KV block."""
    random = np.random.default_rng(5)
    return [random.integers(3, VOCAB_SIZE, length).tolist() for length in PROMPT_LENGTHS]


def make_all(folder: Path) -> None:
    """Each model in a folder of its name: IRs in f32, int8 and int4, adapters, and the answers."""
    import torch

    torch.set_num_threads(1)
    for name, (class_name, targets) in KINDS.items():
        _make(folder / name, class_name, targets)


def _make(folder: Path, class_name: str, targets: tuple[str, ...]) -> None:
    import torch
    import transformers
    from optimum.exporters.openvino import main_export

    torch.manual_seed(0)
    config = getattr(transformers, class_name)(**SIZES)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() > 1:
                tensor.normal_(0, 2 / tensor.shape[-1] ** 0.5)
            else:
                tensor.add_(torch.randn(tensor.shape) * 0.2)
    model.save_pretrained(folder / "source")
    main_export(
        str(folder / "source"),
        folder / "f32",
        task="text-generation-with-past",
        convert_tokenizer=False,
        stateful=True,
    )
    _compress(folder)
    modules = ending_with(modules_of(folder / "f32"), targets)
    answers: dict[str, Any] = {"": _answers(model)}
    for number, (values, is_small) in enumerate(ADAPTERS):
        own = ending_with(modules, targets[:1] if targets != ALL else ("q_proj",))
        path = folder / f"a{number}"
        write_adapter(path, own if is_small else modules, number, **values)
        with _adapted(model, path, values):
            answers[path.name] = _answers(model)
    (folder / REFERENCE).write_text(json.dumps(answers))


def _compress(folder: Path) -> None:
    """Write the same model with int8 and int4 weights."""
    import nncf
    import openvino as ov

    for name, mode in (
        ("int8", nncf.CompressWeightsMode.INT8_ASYM),
        ("int4", nncf.CompressWeightsMode.INT4_SYM),
    ):
        model = ov.Core().read_model(folder / "f32" / "openvino_model.xml")
        options = {"group_size": 32} if name == "int4" else {}
        compressed = nncf.compress_weights(model, mode=mode, **options)
        to = folder / name
        to.mkdir()
        ov.save_model(compressed, to / "openvino_model.xml", compress_to_fp16=False)
        (to / "config.json").write_bytes((folder / "f32" / "config.json").read_bytes())


@contextmanager
def _adapted(model: Any, path: Path, values: dict[str, Any]) -> Iterator[None]:
    from safetensors.torch import load_file

    tensors = load_file(path / "adapter_model.safetensors")
    hooks = []
    for name, module in model.named_modules():
        first = tensors.get(f"base_model.model.{name}.lora_A.weight")
        if first is not None:
            second = tensors[f"base_model.model.{name}.lora_B.weight"]
            own = values.get("alpha_pattern", {}).get(name.rpartition(".")[2])
            alpha = values["lora_alpha"] if own is None else own
            scale = alpha / (math.sqrt(len(first)) if values.get("use_rslora") else len(first))
            hooks.append(module.register_forward_hook(_hook(first, second, scale)))
    assert len(hooks) * 2 == len(tensors)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(first: Any, second: Any, scale: float) -> Any:
    return lambda _, inputs, output: output + (inputs[0] @ first.T) @ second.T * scale


def _answers(model: Any) -> list[tuple[list[int], list[float]]]:
    """The greedy tokens after each prompt, and their log probabilities."""
    import torch

    found = []
    with torch.no_grad():
        for prompt in prompts():
            output = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                max_new_tokens=NUM_TOKENS,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
            )
            tokens = output.sequences[0, len(prompt) :].tolist()
            rows = torch.log_softmax(torch.cat(output.logits), -1)
            logprobs = [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
            found.append((tokens, logprobs))
    return found


if __name__ == "__main__":
    make_all(Path(sys.argv[1]))
