"""Two replicas of a real LLM: their prefix caches and their KV blocks."""

import os
from collections.abc import Iterator

import httpx
import pytest
from support.replicas.replicated import Replicated, replicated

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]

FIRST = "Tell me of " + "a very long river that runs through many lands and " * 4


@pytest.fixture(scope="module")
def server() -> Iterator[Replicated]:
    with replicated("tiny_chat") as running:
        yield running


def ask(server: Replicated, *texts: str) -> tuple[str, str, int]:
    """The replica, the answer and how many tokens were cached, for a conversation so far."""
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    body = {"model": "tiny_chat", "messages": messages, "max_tokens": 8, "ignore_eos": True}
    answer = httpx.post(f"{server.url}/v3/chat/completions", json=body, timeout=60)
    told = answer.json()
    cached = told["usage"]["prompt_tokens_details"]["cached_tokens"]
    return answer.headers["X-Replica"], told["choices"][0]["message"]["content"], cached


def test_the_next_turn_finds_its_prompt_in_the_cache(server: Replicated) -> None:
    server.until(lambda: server.metric('front:replica_ready{engine="front",replica="1"}') == 1, "")
    replicas = set()
    for number in range(2):
        first = f"{number} {FIRST}"
        replica, text, cached = ask(server, first)
        assert cached == 0
        other, _, cached = ask(server, first, text, "And then?")
        assert other == replica
        assert cached >= 32
        replicas.add(replica)
    assert replicas == {"0", "1"}


def test_a_client_that_leaves_frees_its_blocks(server: Replicated) -> None:
    body = {"model": "tiny_chat", "prompt": "a " * 40, "max_tokens": 4000, "ignore_eos": True}
    url = f"{server.url}/v3/completions"
    with (
        httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as one,
        httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as other,
    ):
        assert {one.headers["X-Replica"], other.headers["X-Replica"]} == {"0", "1"}
        next(one.iter_lines())
        next(other.iter_lines())
    for name in ("num_requests_running", "kv_cache_usage_perc"):
        for engine in "01":
            series = f'vllm:{name}{{engine="{engine}"'
            assert series in httpx.get(f"{server.url}/metrics").text
            server.until(lambda series=series: server.metric(series) == 0, f"{series} is not 0")


def test_the_loads_of_engines_are_told_by_replica(server: Replicated) -> None:
    loads = httpx.get(f"{server.url}/v1/loads").json()["loads"]
    assert [(load["model_name"], load["dp_rank"]) for load in loads] == [
        ("tiny_chat", 0),
        ("tiny_chat", 1),
    ]
