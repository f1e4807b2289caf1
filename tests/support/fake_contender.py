"""A contender of the benchmark whose server is a few lines."""

from __future__ import annotations

import sys
from pathlib import Path

import contender
from measure import MeasureSettings
from workloads import LoadSettings

DEMO = Path(__file__).parents[2] / "demos" / "benchmark"
LOAD = LoadSettings(vocab_size=1_000, num_requests=2, length_cap=8)
SETTINGS = MeasureSettings(LOAD, num_rounds=2, round_timeout_s=30)

FAKE_ENGINE = """
import json, sys
from aiohttp import web

num_requests = 0

async def complete(request):
    global num_requests
    num_requests += 1
    body = await request.json()
    with open(LOG, "a") as log:
        log.write(f"{NAME} {body['prompt'][0]}\\n")
    if num_requests > LAST:
        return web.Response(status=500, text="worn out")
    num_tokens = body["max_tokens"]
    events = [{"choices": [{"text": "a"}]}] * num_tokens
    events.append({"choices": [], "usage": {"completion_tokens": num_tokens}})
    events = "".join(f"data: {json.dumps(event)}\\n\\n" for event in events)
    return web.Response(text=events + "data: [DONE]\\n\\n")

app = web.Application()
app.router.add_post("/v1/completions", complete)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
"""


class FakeContender:
    """A server that writes down what it is asked, and fails after `last` requests."""

    dialect = contender.OpenAIDialect("/v1/completions")

    def __init__(self, name: str, calls: Path, last: int = 1000) -> None:
        self.name = name
        head = f"NAME, LOG, LAST = {name!r}, {str(calls)!r}, {last}\n"
        self._script = head + FAKE_ENGINE

    def find_missing(self) -> str | None:
        return None

    def prepare_launch(self, port: int, folder: Path) -> contender.Launch:
        return contender.Launch([sys.executable, "-c", self._script, str(port)])

    def describe(self) -> dict[str, object]:
        return {}


class BrokenContender(FakeContender):
    """Ends at once."""

    def prepare_launch(self, port: int, folder: Path) -> contender.Launch:
        return contender.Launch([sys.executable, "-c", "raise SystemExit('no room here')"])
