"""Measures GET /metrics every 50 ms: while the server is idle, and while it reads long prompts."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

import aiohttp

INTERVAL_S = 0.05


async def scrape(
    session: aiohttp.ClientSession, path: str, is_over: Callable[[], bool]
) -> list[float]:
    """Ask every 50 ms until it is over; returns the seconds that each answer took."""
    seconds = []
    due = time.perf_counter()
    while not is_over():
        began = time.perf_counter()
        async with session.get(path) as response:
            response.raise_for_status()
            await response.read()
        seconds.append(time.perf_counter() - began)
        due = max(due + INTERVAL_S, time.perf_counter())
        await asyncio.sleep(due - time.perf_counter())
    return seconds


async def read_prompts(
    session: aiohttp.ClientSession, model: str, num_tokens: int, count: int
) -> float:
    """Ask for one token of new long prompts, one after the other; returns the seconds of each."""
    began = time.perf_counter()
    for number in range(count):
        # Token ids, so that the length is exact; the first ones keep the prefix cache out.
        prompt = [
            number % 200 + 5,
            int(began) % 200 + 5,
            *(7 + i % 150 for i in range(num_tokens - 2)),
        ]
        body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        async with session.post("/v1/completions", json=body) as response:
            response.raise_for_status()
            await response.read()
    return (time.perf_counter() - began) / count


def describe(name: str, seconds: list[float]) -> str:
    """One line with percentiles in milliseconds."""
    ordered = sorted(seconds)
    p50, p99 = statistics.median(ordered), ordered[int(0.99 * (len(ordered) - 1))]
    return (
        f"{name}: {len(ordered)} scrapes, p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, "
        f"max {ordered[-1] * 1e3:.2f} ms"
    )


async def measure(url: str, model: str, num_tokens: int, count: int) -> None:
    """Print the latencies of scrapes, and what a prompt takes with and without them."""
    async with aiohttp.ClientSession(url) as session, aiohttp.ClientSession(url) as other:
        end = time.perf_counter() + 5
        print(
            describe("idle", await scrape(session, "/metrics", lambda: time.perf_counter() > end))
        )
        await read_prompts(other, model, num_tokens, 1)
        alone = await read_prompts(other, model, num_tokens, count)
        for path in ("/metrics", "/v2/health/live"):
            task = asyncio.create_task(read_prompts(other, model, num_tokens, count))
            seconds = await scrape(session, path, task.done)
            print(describe(f"{path} while prompts of {num_tokens} tokens are read", seconds))
            print(f"  a prompt takes {await task:.3f} s; {alone:.3f} s without scrapes")


def main() -> None:
    """Measure a running server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="tiny_chat")
    parser.add_argument("--prompt-tokens", type=int, default=1900)
    parser.add_argument("--prompts", type=int, default=10)
    args = parser.parse_args()
    asyncio.run(measure(args.url, args.model, args.prompt_tokens, args.prompts))


if __name__ == "__main__":
    main()
