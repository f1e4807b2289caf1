"""Compares several processes of few cores with one process of all cores, on the same conversations.

    python demos/benchmark/replicas/compare_replicas.py models/m --replicas 2

The servers run one after the other, alternating, `--rounds` times each. Both are on the same CPUs.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

READY = "Serving on "
WORDS = ("engine", "cache", "block", "token", "prompt", "batch", "weight", "matrix", "thread")


@dataclass
class Figures:
    """What the answers of one round took."""

    seconds: float = 0.0
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    num_cached: int = 0
    first_token_s: list[float] = field(default_factory=list)
    replicas: list[set[str]] = field(default_factory=list)

    def line(self, name: str) -> str:
        """A row of the table."""
        stayed = sum(len(replicas) == 1 for replicas in self.replicas)
        return (
            f"| {name} | {self.num_tokens / self.seconds:.1f} "
            f"| {statistics.median(self.first_token_s) * 1000:.0f} "
            f"| {100 * self.num_cached / max(1, self.num_prompt_tokens):.0f} % "
            f"| {stayed} of {len(self.replicas)} |"
        )


@contextmanager
def serving(model: str, flags: Sequence[str]) -> Iterator[str]:
    """Start a server on a free port; gives its URL."""
    command = [sys.executable, "-m", "server", model, "--rest_port", "0", "--access_log", "off"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(READY):
                raise SystemExit("the server did not start; the lines above say why")
            yield line.removeprefix(READY).split()[0]
        finally:
            process.terminate()


def question(number: int, turn: int, num_words: int) -> str:
    """A text that differs from its first word on between conversations."""
    words = [
        WORDS[(number * 7 + turn * 5 + i * (number + 3)) % len(WORDS)] for i in range(num_words)
    ]
    return f"{number} {turn} " + " ".join(words)


async def ask(
    session: aiohttp.ClientSession, model: str, messages: list[dict[str, str]], max_tokens: int
) -> tuple[str, str, float, dict[str, Any]]:
    """The answer, the replica's number, the time to the first token, and the usage."""
    body = {
        "model": model,
        "messages": messages,
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    start = time.perf_counter()
    first_s, text, usage = 0.0, "", {}
    async with session.post("/v3/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line.removeprefix(b"data: "))
            first_s = first_s or time.perf_counter() - start
            text += "".join(c["delta"].get("content") or "" for c in event["choices"])
            usage = event.get("usage") or usage
        return text, answer.headers.get("X-Replica", "-"), first_s, usage


async def converse(
    session: aiohttp.ClientSession,
    model: str,
    number: int,
    options: argparse.Namespace,
    figures: Figures,
) -> None:
    """One conversation, which grows with each turn."""
    messages: list[dict[str, str]] = []
    replicas: set[str] = set()
    for turn in range(options.turns):
        text = question(number, turn, options.words)
        messages.append({"role": "user", "content": text})
        text, replica, first_s, usage = await ask(session, model, messages, options.max_tokens)
        messages.append({"role": "assistant", "content": text})
        replicas.add(replica)
        figures.first_token_s.append(first_s)
        figures.num_tokens += usage["completion_tokens"]
        figures.num_prompt_tokens += usage["prompt_tokens"]
        figures.num_cached += usage["prompt_tokens_details"]["cached_tokens"]
    figures.replicas.append(replicas)


async def measure(url: str, options: argparse.Namespace) -> Figures:
    """Hold all conversations at once, after those that warm up."""
    figures = Figures()
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(url, timeout=timeout) as session:
        async with session.get("/v3/models") as answer:
            model = (await answer.json())["data"][0]["id"]
        await asyncio.gather(
            *(
                converse(session, model, 900 + n, options, Figures())
                for n in range(options.replicas)
            )
        )
        start = time.perf_counter()
        await asyncio.gather(
            *(converse(session, model, n, options, figures) for n in range(options.conversations))
        )
        figures.seconds = time.perf_counter() - start
    return figures


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--conversations", type=int, default=8)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--words", type=int, default=100, help="of each question")
    parser.add_argument("--max_tokens", type=int, default=64)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each round."""
    options = parse(arguments)
    print("| processes | tokens/s | first token, ms (median) | cached | stayed |")
    print("|---|---|---|---|---|")
    for _ in range(options.rounds):
        for count in (1, options.replicas):
            with serving(options.model, ["--replicas", str(count)]) as url:
                print(asyncio.run(measure(url, options)).line(str(count)), flush=True)


if __name__ == "__main__":
    main()
