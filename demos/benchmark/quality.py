"""Quality, size and speed of each weight format, on the bundled model.

`python demos/benchmark/quality.py` exports demos/tiny_chat/model in every format as the export's
flags make it, runs the engine on each as its graph.pbtxt says, and prints one Markdown table.
Perplexity is that of the last answers of held-out conversations; "right" is the share that
greedy decoding answers to the letter; "agreement" is the share of the fp32 model's greedy tokens
before the first difference. Speed is a multiple of the speed of fp32, in alternating rounds.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from export_models.export_model import main as export_model
from server.engine import EngineConfig, LLMEngine
from server.payloads import SamplingParams

ROOT = Path(__file__).parents[2]
TINY_CHAT = ROOT / "demos" / "tiny_chat"
BUNDLED = TINY_CHAT / "model"
sys.path.insert(0, str(TINY_CHAT))

from corpus import CYCLES, Conversation, held_out, training  # noqa: E402  # a demo of its own
from evaluate import prompt_of, score, unseen  # noqa: E402
from template import IM_END  # noqa: E402

CALIBRATION_FILE = "calibration.jsonl"
REFERENCE = "fp32"
F32 = '--plugin_config={"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}'
FORMATS = {
    REFERENCE: ("--weight-format", "fp32", F32),
    "fp16": ("--weight-format", "fp16"),
    "int8_asym": ("--weight-format", "int8_asym"),
    "int8_sym": ("--weight-format", "int8_sym"),
    "int4_asym": ("--weight-format", "int4_asym"),
    "int4_sym": ("--weight-format", "int4_sym"),
    "quant_mode int8": ("--quant_mode", "int8"),
    "quant_mode int8, calibration file": (
        *("--quant_mode", "int8"),
        *("--calibration_file", CALIBRATION_FILE),
    ),
}
NUM_CALIBRATION_CHATS = 128
MAX_ANSWER_TOKENS = 200
NUM_STREAMS = 16
NUM_STEPS = 30
NUM_ROUNDS = 5
PROMPT_TOKENS = 512
CACHE_GB = 1
HEADER = (
    *("format", "perplexity", "right, %", "agreement with fp32, %", "weights, MB"),
    *(f"speed: decode of {NUM_STREAMS}", f"prompt of {PROMPT_TOKENS}"),
)


@dataclass(frozen=True)
class Question:
    """A held-out conversation as token ids: what the model reads, and the answer that it had."""

    chat: Conversation
    prompt: list[int]
    answer: list[int]


def make_questions(
    tokenizer: PreTrainedTokenizerBase, per_category: int, seed: int
) -> list[Question]:
    """Conversations that were not in the training."""

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return [
        Question(
            chat,
            encode(prompt_of(chat, tokenizer)),
            encode(f"{chat.messages[-1]['content']}{IM_END}"),
        )
        for chat in unseen(held_out(seed, per_category))
    ]


def write_calibration_file(path: Path) -> None:
    """Conversations of the training: a user has samples of what the model is for."""
    chats = (chat for chat in training(*CYCLES[0]) if not chat.tools)
    lines = (
        json.dumps({"messages": chat.messages}) for chat in islice(chats, NUM_CALIBRATION_CHATS)
    )
    path.write_text("\n".join(lines))


def make_export(name: str, folder: Path) -> Path:
    """Export the bundled model; return its folder."""
    model_name = re.sub(r"\W+", "_", name).strip("_")
    flags = [
        flag.replace(CALIBRATION_FILE, str(folder / CALIBRATION_FILE)) for flag in FORMATS[name]
    ]
    flags += ["--source_model", str(BUNDLED), "--model_name", model_name, "--overwrite_models"]
    flags += ["--model_repository_path", str(folder), "--no_config_file"]
    if name != REFERENCE:
        flags += ["--kv_cache_precision", "u8"]
    if export_model(["text_generation", *flags]):
        sys.exit(1)
    return folder / model_name


def load_engine(model: Path) -> LLMEngine:
    """The engine with the properties that the export wrote."""
    graph = (model / "graph.pbtxt").read_text()
    found = re.search("plugin_config: '(.*)'", graph)
    assert found, "every export writes a plugin_config"
    config = EngineConfig(
        model,
        plugin_config=json.loads(found[1]),
        max_num_batched_tokens=PROMPT_TOKENS,
        cache_size=CACHE_GB,
    )
    return LLMEngine(config)


def perplexity(engine: LLMEngine, questions: Sequence[Question]) -> float:
    """The perplexity of the expected answers."""
    params = SamplingParams(max_tokens=1, prompt_logprobs=0)
    starts = {}
    for question in questions:
        request = engine.make_request(question.prompt + question.answer, params)
        starts[request.request_id] = len(question.prompt)
        engine.add(request)
    logprobs: list[float] = []
    while engine.has_work:
        for output in engine.step():
            assert output.error is None, output.error
            if output.prompt_logprobs is not None:
                # The first token has none.
                of_answer = [*output.prompt_logprobs][starts[output.request_id] - 1 :]
                logprobs += [token.logprob for token in of_answer]
    return math.exp(-math.fsum(logprobs) / len(logprobs))


def greedy_answers(engine: LLMEngine, questions: Sequence[Question]) -> list[list[int]]:
    """The tokens of each answer, the end token with them."""
    params = SamplingParams(temperature=0.0, max_tokens=MAX_ANSWER_TOKENS)
    answers: dict[int, list[int]] = {}
    for question in questions:
        request = engine.make_request(question.prompt, params)
        answers[request.request_id] = []
        engine.add(request)
    while engine.has_work:
        for output in engine.step():
            assert output.error is None, output.error
            answers[output.request_id] += output.token_ids
    return list(answers.values())


def to_text(tokenizer: PreTrainedTokenizerBase, answer: list[int]) -> str:
    """An answer that did not end by itself is not right."""
    text = str(tokenizer.decode(answer, skip_special_tokens=False))
    return text.removesuffix(IM_END) if text.endswith(IM_END) else text + "..."


def agreement(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> float:
    """The share of expected tokens before the first difference of each answer."""
    same = 0
    for ours, theirs in zip(found, expected, strict=True):
        differences = (i for i, token in enumerate(theirs) if ours[i : i + 1] != [token])
        same += next(differences, len(theirs))
    return same / sum(map(len, expected))


def measure_speed(engine: LLMEngine) -> tuple[float, float]:
    """Tokens per second of `NUM_STREAMS` sequences that decode together, and of one prompt."""
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    requests = [engine.make_request([3 + i] * 64, params) for i in range(NUM_STREAMS)]
    for request in requests:
        engine.add(request)
    while len(engine.step()) < NUM_STREAMS:
        pass
    decode_s = median(_time_step(engine) for _ in range(NUM_STEPS))
    for request in requests:
        engine.abort(request.request_id)
    prompt_s = []
    for i in range(NUM_STEPS // 3):
        request = engine.make_request([3 + i] * PROMPT_TOKENS, params)
        engine.add(request)
        prompt_s.append(_time_step(engine))
        engine.abort(request.request_id)
    return NUM_STREAMS / decode_s, PROMPT_TOKENS / median(prompt_s)


def compare_speeds(engines: Sequence[LLMEngine]) -> list[tuple[float, float]]:
    """The speed of each engine as a multiple of the first one's: medians of rounds."""
    rounds = np.array([[measure_speed(engine) for engine in engines] for _ in range(NUM_ROUNDS)])
    ratios = np.median(rounds / rounds[:, :1], axis=0)
    return [(decode, prompt) for decode, prompt in ratios.tolist()]


def _time_step(engine: LLMEngine) -> float:
    start = perf_counter()
    engine.step()
    return perf_counter() - start


def render_row(cells: Sequence[object]) -> str:
    """A row of the table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Measure every format and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--per-category", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build-folder", type=Path, default=ROOT / "build" / "quality")
    args = parser.parse_args()
    args.build_folder.mkdir(parents=True, exist_ok=True)
    write_calibration_file(args.build_folder / CALIBRATION_FILE)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED)
    questions = make_questions(tokenizer, args.per_category, args.seed)
    chats = [question.chat for question in questions]
    rows: list[list[str]] = []
    engines: list[LLMEngine] = []
    expected: list[list[int]] = []
    for name in dict.fromkeys([REFERENCE, *args.formats]):
        model = make_export(name, args.build_folder)
        engine = load_engine(model)
        answers = greedy_answers(engine, questions)
        expected = expected or answers
        right = score(chats, [to_text(tokenizer, answer) for answer in answers], 0)["all"]
        cells = [
            name,
            f"{perplexity(engine, questions):.4f}",
            f"{100 * right / len(chats):.1f}",
            f"{100 * agreement(answers, expected):.1f}",
            f"{(model / 'openvino_model.bin').stat().st_size / 1e6:.1f}",
        ]
        rows.append(cells)
        engines.append(engine)
    for cells, speeds in zip(rows, compare_speeds(engines), strict=True):
        cells += [f"{speed:.2f}" for speed in speeds]
    for engine in engines:
        engine.close()
    print(f"\n{len(chats)} held-out conversations\n")
    print("\n".join(map(render_row, [HEADER, ["---"] * len(HEADER), *rows])))


if __name__ == "__main__":
    main()
