"""Beam searches of transformers' `generate`, kept beside the model that they were made with."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

Answers = list[list[list[int]]]
"""For every prompt, best first, the tokens of each answer."""

QUESTIONS = (
    "What is the capital of France?",
    "Tell me a story about a fox.",
    "Hello",
    "What is 2 plus 2?",
    "Who are you?",
    "Name a colour.",
)


def chat_prompts(hf_model: Path) -> list[list[int]]:
    """Questions in the model's own chat format: unlike random tokens they have answers that end."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(hf_model)
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for question in QUESTIONS
    ]


def generate_with_beams(
    hf_model: Path, store: Path, prompts: list[list[int]], **config: Any
) -> Answers:
    """All `num_beams` answers to every prompt, each with the token that ended it, if one did."""
    key = hashlib.sha256(repr((store.name, prompts, sorted(config.items()))).encode()).hexdigest()
    path = store.with_name(f"{store.name}-beams-{key[:16]}.json")
    if not path.is_file():
        staging = path.with_name(f".{path.name}.{os.getpid()}")
        staging.write_text(json.dumps(_generate(hf_model, prompts, config)))
        staging.rename(path)
    answers: Answers = json.loads(path.read_text())
    return answers


def _generate(hf_model: Path, prompts: list[list[int]], config: dict[str, Any]) -> Answers:
    import torch
    from transformers import AutoModelForCausalLM

    # On a busy machine several threads are many times slower than one.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(hf_model, dtype=torch.float32).eval()
    ends = config.get("eos_token_id", model.generation_config.eos_token_id) or []
    # All at once, padded on the left.
    longest = max(map(len, prompts))
    num_beams = config["num_beams"]
    found = model.generate(
        torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts]),
        attention_mask=torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts]),
        do_sample=False,
        num_return_sequences=num_beams,
        pad_token_id=0,
        **config,
    ).tolist()
    each = [_until_end(answer[longest:], ends) for answer in found]
    answers = [each[start : start + num_beams] for start in range(0, len(each), num_beams)]
    torch.set_num_threads(num_threads)
    return answers


def _until_end(answer: list[int], ends: list[int]) -> list[int]:
    for position, token in enumerate(answer):
        if token in ends:
            return answer[: position + 1]
    return answer


def log_probs_of(hf_model: Path, prompt: list[int], answer: list[int]) -> list[float]:
    """The log probability of each token of an answer."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(hf_model, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    found: list[float] = logits.log_softmax(-1)[range(len(answer)), answer].tolist()
    return found
