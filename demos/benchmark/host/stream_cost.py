"""Time what the server's event loop does for one token of a stream.

Streams of two lengths run at once against a real server with a tiny model; the difference leaves
out what a request costs. Prints a Markdown table: CPU microseconds of the event loop's thread for a
token, milliseconds for a token of every stream, and their share of the CPU time that a step of the
Qwen2.5-0.5B shape takes: what a process of its own for HTTP could take off it at most.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from contender_process import HOST, ContenderProcess
from load_generator import run_conversations
from measure import run_contenders
from random_model import load_vocab_size
from server_contender import REPOSITORY, ServerContender
from workloads import Conversation, Turn

STEP_MS = {64: 142.0, 200: 430.0}
"""Decode steps of the Qwen2.5-0.5B shape in int8 on NUM_CORES cores of a Zen 4, by sequences."""

NUM_CORES = 2
NUM_PROMPT_TOKENS = 8
SHORT, LONG = 20, 180


async def measure(
    process: ContenderProcess, vocab_size: int, num_streams: int, num_rounds: int
) -> float:
    """CPU microseconds of the event loop's thread for a token; the median of the rounds."""
    rng = np.random.default_rng(num_streams)
    found_us = []
    for _ in range(num_rounds + 1):
        spent_s = [await spend(process, rng, vocab_size, num_streams, n) for n in (SHORT, LONG)]
        found_us.append(1e6 * (spent_s[1] - spent_s[0]) / (num_streams * (LONG - SHORT)))
    # The first round has steps of new sizes.
    return median(found_us[1:])


async def spend(
    process: ContenderProcess,
    rng: np.random.Generator,
    vocab_size: int,
    num_streams: int,
    num_tokens: int,
) -> float:
    """CPU seconds of the event loop's thread for so many streams of so many tokens."""
    prompts = rng.integers(vocab_size // 4, vocab_size // 2, (num_streams, NUM_PROMPT_TOKENS))
    streams = [Conversation((Turn(tuple(prompt), num_tokens),)) for prompt in prompts.tolist()]
    before_s = loop_seconds(process.pid)
    await run_conversations(HOST, process.port, process.contender.dialect, streams)
    return loop_seconds(process.pid) - before_s


def loop_seconds(pid: int) -> float:
    """CPU seconds of a process's first thread, which runs the event loop."""
    spent_ns, *_ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(spent_ns) / 1e9


def render_row(num_streams: int, token_us: float, step_ms: float) -> str:
    """One row of the table."""
    all_ms = num_streams * token_us / 1000
    share = 100 * all_ms / (step_ms * NUM_CORES)
    return f"| {num_streams} | {token_us:.1f} | {all_ms:.2f} | {step_ms:.0f} | {share:.1f}% |"


async def _print_table(model: Path, num_rounds: int) -> None:
    print("| streams | a token, us | all streams, ms | a step, ms | of its CPU time |")
    print("| --- | --- | --- | --- | --- |")
    async with run_contenders([ServerContender(model, cache_size_gb=1)]) as (process,):
        for num_streams, step_ms in STEP_MS.items():
            token_us = await measure(process, load_vocab_size(model), num_streams, num_rounds)
            print(render_row(num_streams, token_us, step_ms), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    bundled = REPOSITORY / "server" / "bundled_models" / "tiny_chat"
    parser.add_argument("--model", type=Path, default=bundled, help="folder of an exported model")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    asyncio.run(_print_table(args.model, args.rounds))


if __name__ == "__main__":
    main()
