"""`python -m export_models.quantization.calibration_tokens MODEL TOKENS`: texts as token ids.

Writes a JSON list of lists of token ids to TOKENS: of the user's samples, or of prompts for the
model where there are none. A process of its own, as transformers takes seconds to import.
"""

import argparse
import json
import sys
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NoReturn

from export_models.quantization.calibration_chats import render_seeds

MAX_SAMPLE_TOKENS = 512
MAX_PROMPT_TOKENS = 1024


def main(arguments: list[str]) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(prog="calibration_tokens")
    parser.add_argument("model", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--num-samples", type=int)
    parser.add_argument("--trust-remote-code", action="store_true")
    values = parser.parse_args(arguments)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        values.model, trust_remote_code=values.trust_remote_code
    )
    if values.samples:
        samples = json.loads(values.samples.read_text())[: values.num_samples]
        tokens = [encode(tokenizer, sample) for sample in samples]
    else:
        tokens = make_prompts(tokenizer, values.num_samples)
    values.tokens.write_text(json.dumps(tokens))


def encode(tokenizer: Any, sample: dict[str, Any]) -> list[int]:
    """The ids of one sample of the user's file."""
    try:
        content = sample["content"]
        is_chat = not isinstance(content, str)
        text = tokenizer.apply_chat_template(content, tokenize=False) if is_chat else content
        ids: list[int] = tokenizer(text, add_special_tokens=not is_chat)["input_ids"]
    # A template is code of the model's author; it may raise anything.
    except Exception as error:
        _fail(f"line {sample['line']}: {type(error).__name__}: {error}")
    if not ids:
        _fail(f"line {sample['line']}: the tokenizer gives no tokens")
    return ids[:MAX_SAMPLE_TOKENS]


def _fail(message: str) -> NoReturn:
    sys.exit(f"calibration: {' '.join(message.split())}")


def make_prompts(tokenizer: Any, num_prompts: int | None) -> list[list[int]]:
    """The prompts that the model answers; each of them once without a number of prompts."""
    texts, is_chat = render_seeds(tokenizer)
    prompts = [tokenizer(text, add_special_tokens=not is_chat)["input_ids"] for text in texts]
    # A template may put whole pages before a chat.
    prompts = [prompt[-MAX_PROMPT_TOKENS:] for prompt in prompts]
    return list(islice(cycle(prompts), num_prompts or len(prompts)))


if __name__ == "__main__":
    main(sys.argv[1:])
