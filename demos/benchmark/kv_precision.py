"""How much a quantised KV cache changes greedy answers of a model.

`python demos/benchmark/kv_precision.py --model FOLDER` runs the engine on the same weights with
several KV cache and inference precisions. Without a folder it exports the bundled model with fp32
weights. Agreement is the share of tokens before each answer's first difference from the f32 cache,
whose greedy tokens equal those of transformers (tests/engine/test_engine.py).
"""

import argparse
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from export_models.export_model import main as export_model
from server.engine import EngineConfig, LLMEngine
from server.payloads import SamplingParams

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "demos" / "tiny_chat" / "model"
QUESTIONS = [
    "What is the capital of France?",
    "Tell me a story about a fox.",
    "What is 27 + 15?",
    "Count from 3 to 12.",
    "How do you spell house?",
    "Who are you?",
]
PRECISIONS = [("f32", "f32"), ("u8", "f32"), ("bf16", "bf16"), ("u8", "bf16"), ("u4", "f32")]
NUM_RANDOM_PROMPTS = 18
NUM_TOKENS = 64


def make_prompts(tokenizer_folder: Path, seed: int = 0) -> list[list[int]]:
    """Chat questions, and random token ids of 1 to 300 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    rng = np.random.default_rng(seed)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        for question in QUESTIONS
    ]
    lengths = rng.integers(1, 300, NUM_RANDOM_PROMPTS)
    return prompts + [rng.integers(3, len(tokenizer), size).tolist() for size in lengths]


def greedy_tokens(model: Path, prompts: list[list[int]], kv: str, inference: str) -> np.ndarray:
    """The engine's greedy tokens, i64[prompts, NUM_TOKENS]."""
    properties = {"KV_CACHE_PRECISION": kv, "INFERENCE_PRECISION_HINT": inference}
    engine = LLMEngine(EngineConfig(model, device="CPU", plugin_config=properties))
    params = SamplingParams(temperature=0, max_tokens=NUM_TOKENS, ignore_eos=True)
    requests = [engine.make_request(prompt, params) for prompt in prompts]
    tokens: dict[int, list[int]] = {request.request_id: [] for request in requests}
    for request in requests:
        engine.add(request)
    while engine.has_work:
        for output in engine.step():
            assert output.error is None, output.error
            tokens[output.request_id].extend(output.token_ids)
    engine.close()
    return np.array(list(tokens.values()))


def agreement(found: np.ndarray, expected: np.ndarray) -> float:
    """Share of the tokens before the first difference of each row."""
    return float((found == expected).cumprod(axis=1).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="an exported model (default: the bundled one)")
    model = parser.parse_args().model
    if model is None:
        repository = ROOT / "build" / "kv_precision"
        flags = ["--source_model", str(BUNDLED), "--model_name", "tiny_chat", "--overwrite_models"]
        flags += ["--weight-format", "fp32", "--model_repository_path", str(repository)]
        flags += ["--config_file_path", str(repository / "config.json")]
        export_model(["text_generation", *flags])
        model = repository / "tiny_chat"
    prompts = make_prompts(model)
    tokens = [greedy_tokens(model, prompts, *precision) for precision in PRECISIONS]
    heading = f"of {tokens[0].size} greedy tokens before the first difference"
    print(f"| KV cache | inference | {heading} |")
    print("|---|---|---|")
    for (kv, inference), found in zip(PRECISIONS, tokens, strict=True):
        print(f"| {kv} | {inference} | {agreement(found, tokens[0]):.1%} |")


if __name__ == "__main__":
    main()
