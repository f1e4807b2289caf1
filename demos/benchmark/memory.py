"""Print the resident memory of a server after more and more requests.

Requests are random in length, and come in batches over HTTP. The KV cache is so small that it is
full after the first hundred or two: what grows later is lost.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contender import Launch
from contender_process import HOST, ContenderProcess
from load_generator import run_conversations
from measure import log, run_contenders
from random_model import load_vocab_size, prepare_ir
from server_contender import ServerContender
from workloads import Conversation, Turn

NUM_KV_BLOCKS = 400
BATCH = 50
LONGEST_PROMPT, LONGEST_OUTPUT = 200, 16


@dataclass(frozen=True)
class SmallCacheServer(ServerContender):
    """The server with a KV cache of a few blocks."""

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """The server's command, with another size of the cache."""
        launch = super().prepare_launch(port, folder)
        path = folder / "graph.pbtxt"
        graph = path.read_text()
        of_cache = f"cache_size: {self.cache_size_gb}"
        assert graph.count(of_cache) == 1, "the graph states the size of the cache"
        path.write_text(graph.replace(of_cache, f"num_kv_blocks: {NUM_KV_BLOCKS}"))
        return launch


async def measure(model: Path, marks: list[int]) -> AsyncIterator[tuple[int, float]]:
    """MB in memory after each number of requests; the first is 0."""
    vocab_size = load_vocab_size(model)
    rng = np.random.default_rng(0)
    async with run_contenders([SmallCacheServer(model)]) as (process,):
        yield 0, process.read_rss_mb()
        num_done = 0
        for mark in sorted(marks):
            while num_done < mark:
                size = min(BATCH, mark - num_done)
                await _send(process, [_draw_request(rng, vocab_size) for _ in range(size)])
                num_done += size
            yield num_done, process.read_rss_mb()


async def _send(process: ContenderProcess, requests: list[Conversation]) -> None:
    await run_conversations(HOST, process.port, process.contender.dialect, requests)


def _draw_request(rng: np.random.Generator, vocab_size: int) -> Conversation:
    length, max_tokens = rng.integers(1, (LONGEST_PROMPT, LONGEST_OUTPUT)).tolist()
    prompt = rng.integers(vocab_size // 4, vocab_size * 3 // 4, length).tolist()
    return Conversation((Turn(tuple(prompt), max_tokens),))


async def _print_table(model: Path, marks: list[int]) -> None:
    print("| requests | RSS, MB |\n| --- | --- |")
    async for num_requests, rss_mb in measure(model, marks):
        print(f"| {num_requests} | {rss_mb:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of an exported model; default: tiny")
    parser.add_argument("--build_folder", type=Path, default=Path("build/benchmark"))
    parser.add_argument(
        "--marks", type=int, nargs="+", default=[100, 200, 500, 1000, 2000, 5000, 10000]
    )
    args = parser.parse_args()
    model = args.model or prepare_ir("tiny", "int8", args.build_folder)
    log(f"model: {model}")
    asyncio.run(_print_table(model, args.marks))


if __name__ == "__main__":
    main()
