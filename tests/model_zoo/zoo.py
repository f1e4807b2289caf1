"""Makes a model of the zoo, exports it, and compares the engine with transformers on it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from model_zoo.architectures import ARCHITECTURES, VOCAB_SIZE
from support.engine_helpers import F32, generate

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.payloads import SamplingParams

PROMPT_LENGTHS = (5, 17, 60, 100, 150)
NUM_TOKENS = 40

# How the engine is run; each must give what transformers give, to the last token.
MODES: dict[str, dict[str, Any]] = {
    "batched": {},
    "alone": {},
    "chunked": {"max_num_batched_tokens": 64},
    "prefix cache": {"enable_prefix_caching": True},
    "few blocks": {"num_kv_blocks": 14},
}


def prompts() -> list[list[int]]:
    """Random tokens, of lengths on both sides of windows, chunks and blocks."""
    rng = np.random.default_rng(3)
    return [rng.integers(3, VOCAB_SIZE, length).tolist() for length in PROMPT_LENGTHS]


def make_model(name: str, folder: Path) -> Path:
    """The f32 IR of a random model, with transformers' answers in `expected.json`.

    In a process of its own: torch keeps threads and memory.
    """
    script = [sys.executable, __file__, name, str(folder)]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def num_equal_tokens(folder: Path, mode: str) -> tuple[int, int]:
    """Tokens that the engine and transformers have in common, and the number of all."""
    expected = json.loads((folder / "expected.json").read_text())
    settings = {"max_num_batched_tokens": 1024, "num_kv_blocks": 200, **MODES[mode]}
    config = EngineConfig(folder, plugin_config=F32, target_inter_token_latency_ms=0, **settings)
    engine = LLMEngine(config)
    params = SamplingParams(temperature=0, max_tokens=NUM_TOKENS, ignore_eos=True)
    try:
        if mode == "alone":
            found = [generate(engine, [prompt], params)[0] for prompt in prompts()]
        else:
            found = generate(engine, prompts(), params)
        if mode == "prefix cache":
            found = generate(engine, prompts(), params)
    finally:
        engine.close()
    pairs = [pair for row in zip(found, expected, strict=True) for pair in zip(*row, strict=True)]
    return sum(one == other for one, other in pairs), len(pairs)


def _make(name: str, folder: Path) -> None:
    import torch
    import transformers
    from optimum.exporters.openvino import main_export

    class_name, arguments = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = getattr(transformers, class_name)(**arguments)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            # The usual small weights would make every answer the same token again and again.
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / parameter.shape[-1] ** 0.5)
        answers = [_generate(model, prompt) for prompt in prompts()]
    source = folder / "source"
    model.save_pretrained(source)
    task = "text-generation-with-past"
    main_export(str(source), folder, task=task, convert_tokenizer=False, stateful=True)
    (folder / "expected.json").write_text(json.dumps(answers))


def _generate(model: Any, prompt: list[int]) -> list[int]:
    import torch

    tokens = torch.tensor([prompt])
    answer = model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=NUM_TOKENS,
        min_new_tokens=NUM_TOKENS,
        do_sample=False,
        pad_token_id=2,
        eos_token_id=None,
    )
    tokens_after: list[int] = answer[0, len(prompt) :].tolist()
    return tokens_after


if __name__ == "__main__":
    _make(sys.argv[1], Path(sys.argv[2]))
