"""Accuracy of the tiny models on held-out conversations, by category and by backend."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from corpus import (
    CATEGORIES,
    CYCLES,
    Conversation,
    held_out,
    training,
)
from template import IM_END, render
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
Backend = Callable[[list[str]], list[str]]
BATCH = 32
MAX_NEW_TOKENS = 200
TOOL_ROWS = [f"tool call, {number} offered" for number in ("one", "two", "three")]
_AFTER = CATEGORIES.index("tool call") + 1
ROWS = [*CATEGORIES[:_AFTER], *TOOL_ROWS, *CATEGORIES[_AFTER:], "all"]
# Symmetric groups of 64 divide every matrix evenly. All layers go to four bits; optimum leaves the
# embedding, which is also the output, at eight.
EXPORT = {
    "fp32": ["--weight-format", "fp32"],
    "int8": ["--weight-format", "int8"],
    "int4": ["--weight-format", "int4", "--sym", "--group-size", "64", "--ratio", "1.0"],
}
# Name of the column: weights of the export, precision of the key-value cache.
OPENVINO = {
    "ov-fp32": ("fp32", "f32"),
    "ov-int8": ("int8", "f32"),
    "ov-int4": ("int4", "f32"),
    "ov-fp32-kv8": ("fp32", "u8"),
    "ov-int8-kv8": ("int8", "u8"),
    "ov-int4-kv8": ("int4", "u8"),
}


def greedy(model: Any, tokenizer: Any) -> Backend:
    """A backend from any model with transformers' generate: batches, padding on the left."""

    def answers(prompts: list[str]) -> list[str]:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found = [""] * len(prompts)
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            texts = [prompts[i] for i in part]
            inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
            inputs.pop("token_type_ids", None)
            with torch.no_grad():
                output = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
            for i, ids in zip(part, output[:, inputs["input_ids"].shape[1] :], strict=True):
                text = tokenizer.decode(ids, skip_special_tokens=False)
                # Without the stop token the answer counts as wrong: it did not end by itself.
                found[i] = text.split(IM_END)[0] if IM_END in text else text + "..."
        return found

    return answers


def transformers_backend(folder: Path, tokenizer: Any) -> Backend:
    """The reference: transformers in float32."""
    return greedy(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer)


def export(folder: Path, target: Path, weights: str) -> None:
    """Convert the checkpoint to OpenVINO with optimum's command line tool."""
    if target.exists():
        return
    tool = Path(sys.executable).with_name("optimum-cli")
    command = [str(tool), "export", "openvino", "--model", str(folder)]
    command += ["--task", "text-generation-with-past", *EXPORT[weights], str(target)]
    subprocess.run(command, check=True, capture_output=True)


def openvino_backend(folder: Path, tokenizer: Any, exports: Path, name: str) -> Backend:
    """An OpenVINO export; activations stay in float32 so that only the named part differs."""
    from optimum.intel import OVModelForCausalLM

    weights, cache = OPENVINO[name]
    export(folder, exports / weights, weights)
    options = {"KV_CACHE_PRECISION": cache, "INFERENCE_PRECISION_HINT": "f32"}
    return greedy(
        OVModelForCausalLM.from_pretrained(exports / weights, ov_config=options), tokenizer
    )


def unseen(chats: list[Conversation]) -> list[Conversation]:
    """Only chats whose whole text differs from every training text.

    The keys differ by construction; a short greeting can still come out the same by chance.
    """
    chats_seen = chain(*(training(*cycle) for cycle in CYCLES))
    trained = {render(chat.messages, chat.tools) for chat in chats_seen}
    return [chat for chat in chats if render(chat.messages, chat.tools) not in trained]


def prompt_of(chat: Conversation, tokenizer: Any) -> str:
    """The conversation up to its last answer, as the model reads it."""
    text = tokenizer.apply_chat_template(
        chat.messages[:-1], tools=chat.tools or None, add_generation_prompt=True, tokenize=False
    )
    return str(text)


def rows_of(chat: Conversation) -> list[str]:
    """The rows of the table in which this conversation counts."""
    rows = [chat.category, "all"]
    if chat.category == "tool call":
        rows.append(TOOL_ROWS[len(chat.tools) - 1])
    return rows


def count(chats: list[Conversation]) -> Counter[str]:
    """Number of conversations in each row."""
    return Counter(row for chat in chats for row in rows_of(chat))


def score(chats: list[Conversation], answers: list[str], show: int) -> Counter[str]:
    """Number of answers that are right to the letter, by row."""
    right = []
    for chat, answer in zip(chats, answers, strict=True):
        expected = chat.messages[-1]["content"]
        if answer == expected:
            right.append(chat)
        elif show > 0:
            show -= 1
            question = chat.messages[-2]["content"]
            print(f"  {chat.category}: {question!r} -> {answer!r}, not {expected!r}")
    return count(right)


def table(asked: Counter[str], columns: dict[str, Counter[str]]) -> str:
    """The shares as a Markdown table in percent."""
    lines = [f"| category | asked | {' | '.join(columns)} |", "|---|---:|" + "---:|" * len(columns)]
    for row in filter(asked.get, ROWS):
        cells = [f"{100 * right[row] / asked[row]:.1f}" for right in columns.values()]
        lines.append(f"| {row} | {asked[row]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    names = ["transformers", *OPENVINO]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=HERE / "model")
    parser.add_argument("--per-category", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backends", nargs="+", choices=names, default=names)
    parser.add_argument("--show", type=int, default=0, help="print so many wrong answers")
    args = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    chats = unseen(held_out(args.seed, args.per_category))
    prompts = [prompt_of(chat, tokenizer) for chat in chats]
    asked, columns = count(chats), dict[str, Counter[str]]()
    with tempfile.TemporaryDirectory() as exports:
        for name in args.backends:
            if name == "transformers":
                backend = transformers_backend(args.model, tokenizer)
            else:
                backend = openvino_backend(args.model, tokenizer, Path(exports), name)
            columns[name] = score(chats, backend(prompts), args.show)
            print(f"{name}: {columns[name]['all']} of {len(chats)} right", file=sys.stderr)
    print(f"{len(chats)} held-out conversations, percent right to the letter\n")
    print(table(asked, columns))


if __name__ == "__main__":
    main()
