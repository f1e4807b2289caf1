"""Train the tokenizer, the chat model and its half-size sibling from generated text."""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from corpus import CYCLES, training
from template import (
    END_OF_TEXT,
    END_TOOL_CALL,
    IM_END,
    IM_START,
    TEMPLATE,
    TOOL_CALL,
    render,
)
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent
VOCABULARY = 2048
# A conversation with three tools fits in a short row: few steps take long ones.
SHORT, LONG = 384, 1024
_SPLIT = r"'(?:s|t|m|re|ve|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Plan:
    """Shape and training length of one model."""

    folder: str
    hidden: int
    inner: int
    layers: int
    steps: tuple[int, ...]
    batch: int = 16
    rate: float = 4e-3


PLANS = [
    Plan("model", 256, 640, 5, (1500, 1200)),
    Plan("draft", 192, 384, 4, (700, 500)),
]


def texts(seed: int, count: int) -> Iterator[str]:
    """Training conversations as the model reads them."""
    for chat in training(seed, count):
        yield render(chat.messages, chat.tools)


def train_tokenizer(sample: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every digit is a token of its own."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, IM_START, IM_END]
    plain = [AddedToken(t, special=False, normalized=False) for t in (TOOL_CALL, END_TOOL_CALL)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(plain),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(sample, trainer)
    core.add_tokens(plain)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[IM_START],
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def pack(chats: list[list[int]], length: int, pad: int) -> Tensor:
    """Whole conversations side by side in rows of the given length."""
    rows: list[list[int]] = []
    open_rows: list[list[int]] = []
    for ids in chats:
        row = next((r for r in open_rows if len(r) + len(ids) < length), None)
        if row is None:
            if len(open_rows) >= 32:
                rows.append(open_rows.pop(max(range(32), key=lambda i: len(open_rows[i]))))
            row = []
            open_rows.append(row)
        row += [*ids, pad]
    rows += open_rows
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def labels_of(rows: Tensor, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """The rows with everything but the assistant's words replaced by -100."""
    start, end, role = tokenizer.convert_tokens_to_ids([IM_START, IM_END, "assistant"])
    labels = torch.full_like(rows, -100)
    speaking = torch.zeros(len(rows), dtype=torch.bool)
    # The words begin after "<|im_start|>", "assistant" and the line break.
    for column in range(3, rows.shape[1]):
        speaking |= (rows[:, column - 3] == start) & (rows[:, column - 2] == role)
        labels[speaking, column] = rows[speaking, column]
        speaking &= rows[:, column] != end
    return labels


class Stopwatch:
    """Seconds since its creation: wall time, and CPU time of this process on all cores."""

    def __init__(self) -> None:
        self._clock, self._work = time.monotonic(), time.process_time()

    def __str__(self) -> str:
        clock, work = time.monotonic() - self._clock, time.process_time() - self._work
        return f"{clock:.0f} s (CPU {work:.0f} s)"


@dataclass
class Data:
    """Packed rows with their labels, short and long ones."""

    short: tuple[Tensor, Tensor]
    long: tuple[Tensor, Tensor]


def build_data(tokenizer: PreTrainedTokenizerFast, seed: int, count: int) -> Data:
    """Generate, tokenise and pack the training conversations."""
    core, pad = tokenizer.backend_tokenizer, tokenizer.pad_token_id
    rng = random.Random(seed)
    short: list[list[int]] = []
    long: list[list[int]] = []
    chunk = list(texts(seed, count))
    for begin in range(0, count, 10000):
        for one in core.encode_batch(chunk[begin : begin + 10000], add_special_tokens=False):
            if len(one.ids) < SHORT - 1 and rng.random() > 0.05:
                short.append(one.ids)
            elif len(one.ids) < LONG - 1:
                long.append(one.ids)
    packed = [pack(part, length, pad) for part, length in ((short, SHORT), (long, LONG))]
    pairs = [(rows, labels_of(rows, tokenizer)) for rows in packed]
    return Data(pairs[0], pairs[1])


def new_model(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model; every size is a multiple of 64 for the quantised kernels."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=plan.hidden,
        intermediate_size=plan.inner,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.hidden // 64,
        num_key_value_heads=max(1, plan.hidden // 128),
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(1)
    return LlamaForCausalLM(config)


def optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""
    inner: list[nn.Parameter] = []
    outer: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (inner if parameter.ndim == 2 and "layers" in name else outer).append(parameter)
    return [
        torch.optim.Muon(inner, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def loss_of(body: Any, head: nn.Module, rows: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy on the assistant's words only; other positions never reach the head."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = body(input_ids=rows[:, :-1], use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != -100
        logits = head(hidden[wanted])
    return functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def factor(step: int, steps: int) -> float:
    """Warm-up, then a cosine down to nearly nothing."""
    return min(1.0, (step + 1) / 60) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


def batches(pair: tuple[Tensor, Tensor], size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random batches, every row once before any row comes again."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(pair[0]), generator=generator)
        for begin in range(0, len(order) - size + 1, size):
            index = order[begin : begin + size]
            yield pair[0][index], pair[1][index]


def train_cycle(model: Any, plan: Plan, cycle: int, data: Data, fast: bool) -> None:
    """One learning-rate cycle; later cycles start lower, on new conversations."""
    steps, rate = plan.steps[cycle], plan.rate / (1 + cycle)
    body = torch.compile(model.model, dynamic=False) if fast else model.model
    groups = optimizers(model, rate)
    short = batches(data.short, plan.batch, 2)
    long = batches(data.long, plan.batch * SHORT // LONG, 3)
    rows = next(long)[0]
    begin, seen, mean = Stopwatch(), 0, 0.0
    for step in range(steps):
        is_long = step % 16 == 15
        rows, labels = next(long if is_long else short)
        loss = loss_of(model.model if is_long else body, model.lm_head, rows, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in groups:
            group.param_groups[0]["lr"] = rate * factor(step, steps)
            group.step()
            group.zero_grad()
        seen, mean = seen + rows.numel(), 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 99:
            shown = mean / (1 - 0.98 ** (step + 1))
            print(f"{step + 1} steps, {begin}, {seen} tokens, loss {shown:.4f}", flush=True)


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a float16 checkpoint as model hubs lay it out.

    The weights of the model itself are rounded too: so the next cycle begins alike with it and
    with its checkpoint.
    """
    model.generation_config = GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    # A copy is converted: rounding the model as a whole would round its rotary frequencies as well.
    copy.deepcopy(model).half().save_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    tokenizer.save_pretrained(folder)
    # Older readers know neither the class nor the list name that transformers 5 writes here.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.pop("is_local", None)
    config["additional_special_tokens"] = config.pop("extra_special_tokens", [IM_START])
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--only", choices=[plan.folder for plan in PLANS])
    parser.add_argument(
        "--first", type=int, default=0, help="start with this cycle, from what is saved"
    )
    parser.add_argument("--no-compile", action="store_true", help="do not use torch.compile")
    args = parser.parse_args()
    torch.set_num_threads(2)
    begin = Stopwatch()
    plans = [plan for plan in PLANS if args.only in (None, plan.folder)]
    if args.first or args.only == "draft":
        # Both models share one tokenizer; the finished model brings it.
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.output / "model")
    else:
        tokenizer = train_tokenizer(texts(5, 40_000))
    trained = {plan.folder: new_model(plan, tokenizer) for plan in plans}
    if args.first:
        load = LlamaForCausalLM.from_pretrained
        trained = {name: load(args.output / name, dtype=torch.float32) for name in trained}
    for cycle in range(args.first, len(CYCLES)):
        data = build_data(tokenizer, *CYCLES[cycle])
        print(f"cycle {cycle}: {len(data.short[0])} short and {len(data.long[0])} long rows")
        for plan in plans:
            model, folder = trained[plan.folder], args.output / plan.folder
            train_cycle(model, plan, cycle, data, not args.no_compile)
            save(model, tokenizer, folder)
            size = sum(file.stat().st_size for file in folder.iterdir())
            print(f"{plan.folder}: {size} bytes after {begin} in all", flush=True)


if __name__ == "__main__":
    main()
