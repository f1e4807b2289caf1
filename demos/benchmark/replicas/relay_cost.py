"""Measures what a streamed event costs the event loop of a running server: its processor time.

    python demos/benchmark/replicas/relay_cost.py --url http://127.0.0.1:8000 --streams 8

With --replicas it is that of the front, which passes each event on; else that of the whole server.
Needs Linux, and a server on this machine.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import aiohttp


def loop_s(pid: int) -> float:
    """The processor time of a process's main thread so far."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


async def count_events(session: aiohttp.ClientSession, body: dict[str, Any]) -> int:
    """Ask for a stream; returns how many events came."""
    async with session.post("/v1/completions", json=body) as answer:
        answer.raise_for_status()
        return (await answer.read()).count(b"data: ")


async def measure(options: argparse.Namespace) -> None:
    """Print the microseconds for each round."""
    async with aiohttp.ClientSession(options.url) as session:
        async with session.get("/v1/status") as answer:
            pid = (await answer.json())["server"]["pid"]
        body = {"model": options.model, "max_tokens": options.max_tokens, "ignore_eos": True}
        for number in range(options.rounds):
            prompts = [f"{number} {stream} Once" for stream in range(options.streams)]
            bodies = [{**body, "prompt": prompt, "stream": True} for prompt in prompts]
            began_s = loop_s(pid)
            counts = await asyncio.gather(*(count_events(session, each) for each in bodies))
            used_us = (loop_s(pid) - began_s) * 1e6
            print(f"{sum(counts)} events, {used_us / sum(counts):.1f} us each", flush=True)


def main() -> None:
    """Measure a running server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="tiny_chat")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--max_tokens", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
