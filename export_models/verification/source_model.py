"""What the source model says in torch, in f32, of each next token of some prompts."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from server.host.memory import available_bytes

__all__ = ["answer_prompts"]

Ints = npt.NDArray[np.int64]
Logits = tuple[Any, Any]

MAX_SECONDS = 60.0
GIB = 2**30
BYTES_PER_WEIGHT = 5
"""f32, and what is held twice while a file of weights is read."""

LARGEST_F16 = 65504.0
# What an export rounds the weights to; what it compresses further is compared with f32.
ROUNDED = {"f16": torch.float16, "bf16": torch.bfloat16}


def answer_prompts(source: str, exchange: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Read the prompts in `exchange`, and write the answers there.

    Returns the versions, and notes on what was left out. Raises whatever transformers raises.
    """
    with np.load(exchange / "prompts.npz") as arrays:
        num_weights, precision = int(arrays["num_weights"]), str(arrays["precision"])
        prefix = arrays["prefix"]
        prompts = [arrays[name] for name in arrays if name.startswith("prompt.")]
    needed = BYTES_PER_WEIGHT * num_weights
    if needed > available_bytes():
        return {
            "notes": [
                "not compared with the source model: memory does not suffice; "
                f"{needed / GIB:.1f} GiB are needed, {available_bytes() / GIB:.1f} GiB are free"
            ]
        }
    has_encoder = len(prefix) > 0
    model = _load(source, has_encoder, ROUNDED.get(precision), options)
    read = partial(_read_encoded, prefix) if has_encoder else _read
    possible, notes = _without_wrong_ones(prompts, model.config)
    answers, more_notes = _read_within(possible, partial(read, model))
    np.savez(exchange / "answers.npz", **answers)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {**versions, "notes": notes + more_notes}


def _load(
    source: str, has_encoder: bool, rounded: torch.dtype | None, options: dict[str, Any]
) -> Any:
    auto: Any = transformers.AutoModelForCausalLM
    if has_encoder:
        auto = transformers.AutoModelForSeq2SeqLM
    model = auto.from_pretrained(source, dtype=torch.float32, **options).eval()
    if rounded is not None:
        for weight in model.parameters():
            if rounded is not torch.float16 or float(weight.abs().max()) <= LARGEST_F16:
                weight.data = weight.data.to(rounded).float()
    return model


def _without_wrong_ones(prompts: list[Ints], config: Any) -> tuple[list[Ints], list[str]]:
    """The prompts that transformers computes rightly, and a note on the others.

    In transformers 4.57 a Zamba2 model mixes up the states of a prompt with several chunks: another
    `chunk_size` gives other answers.
    """
    if config.model_type != "zamba2":
        return prompts, []
    longest = config.chunk_size
    kept = [prompt for prompt in prompts if len(prompt) - 1 <= longest]
    return kept, [f"transformers computes prompts of more than {longest} tokens wrongly"]


def _read_within(
    prompts: list[Ints], read: Callable[[Ints], Logits]
) -> tuple[dict[str, Any], list[str]]:
    """The answers to as many prompts as the time suffices for, short ones first."""
    answers: dict[str, Any] = {}
    started = time.monotonic()
    num_read = 0
    for index, prompt in enumerate(prompts):
        spent = time.monotonic() - started
        if num_read and spent / num_read * len(prompt) > MAX_SECONDS - spent:
            note = f"the source model read no prompt of {len(prompt)} tokens: it takes too long"
            return answers, [note]
        for name, array in _describe(*read(prompt)).items():
            answers[f"{name}.{index}"] = array
        num_read += len(prompt)
    return answers, []


def _read(model: Any, prompt: Ints) -> Logits:
    """The logits f32[n, vocabulary] of the last n tokens of a prompt, and these tokens."""
    tokens = torch.from_numpy(prompt)
    with torch.inference_mode():
        return model(input_ids=tokens[None, :-1], use_cache=False).logits[0].float(), tokens[1:]


def _read_encoded(prefix: Ints, model: Any, prompt: Ints) -> Logits:
    """The encoder reads the first half, the decoder its prefix and the second half."""
    half = len(prompt) // 2
    tokens = torch.from_numpy(prompt)
    text = torch.cat([torch.from_numpy(prefix), tokens[half:-1]])
    with torch.inference_mode():
        logits = model(input_ids=tokens[None, :half], decoder_input_ids=text[None]).logits[0]
    return logits[len(prefix) - 1 :].float(), tokens[half:]


def _describe(logits: Any, tokens: Any) -> dict[str, npt.NDArray[Any]]:
    norms = logits.logsumexp(-1)
    best = logits.topk(2)
    logprobs = logits.gather(1, tokens[:, None])[:, 0] - norms
    return {
        "logprobs": logprobs.double().numpy(),
        "best_ids": best.indices[:, 0].numpy(),
        "best_logprobs": (best.values[:, 0] - norms).double().numpy(),
        "margins": (best.values[:, 0] - best.values[:, 1]).double().numpy(),
    }
