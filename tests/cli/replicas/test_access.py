"""Keys, TLS and limits are checked once, at the front, for all replicas."""

import json
import os
import shutil
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.fakes import echo_graph, write_repository
from support.replicas.replicated import replicated
from support.security.certificates import make_certificate

pytestmark = [
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("access")
    config = write_repository(folder, {"a": echo_graph(), "b": echo_graph()})
    keys = folder / "keys.json"
    keys.touch(0o600)
    entries = [
        {"name": "alice", "key": "secret-alice", "models": ["a"], "max_concurrent_requests": 3},
        {"name": "root", "key": "secret-root", "scope": "admin"},
    ]
    keys.write_text(json.dumps(entries))
    made = make_certificate(folder, "front")
    tls = ["--ssl_certfile", made.cert, "--ssl_keyfile", made.key]
    flags = ["--config_path", config, "--api_key_file", keys, "--api_key_protects", "all", *tls]
    with replicated(*flags) as server:
        context = ssl.create_default_context(cafile=str(made.cert))
        with httpx.Client(base_url=server.url, verify=context, timeout=60) as asking:
            yield asking


def key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer secret-{name}"}


def complete(client: httpx.Client, name: str, model: str, prompt: str, n: int = 1) -> int:
    body = {"model": model, "prompt": prompt, "n": n}
    return client.post("/v3/completions", json=body, headers=key(name)).status_code


def test_a_request_needs_a_key(client: httpx.Client) -> None:
    assert client.get("/v3/models").status_code == 401
    assert client.get("/metrics", headers=key("mallory")).status_code == 401
    assert client.get("/metrics", headers=key("alice")).status_code == 200


def test_a_replica_knows_what_the_key_allows(client: httpx.Client) -> None:
    names = [m["id"] for m in client.get("/v3/models", headers=key("alice")).json()["data"]]
    assert names == ["a"]
    assert complete(client, "alice", "a", "hi") == 200
    assert complete(client, "alice", "b", "hi") == 403
    assert complete(client, "root", "b", "hi") == 200


def test_only_an_administrator_reloads(client: httpx.Client) -> None:
    reload = "/v1/config/reload"
    assert client.post(reload, headers=key("alice")).status_code == 403
    assert client.post(reload, headers=key("root")).status_code == 200


def test_a_limit_counts_the_requests_of_all_replicas(client: httpx.Client) -> None:
    def send(_: int) -> int:
        return complete(client, "alice", "a", "!pause !pause !pause")

    with ThreadPoolExecutor(6) as threads:
        assert Counter(threads.map(send, range(6))) == {200: 3, 429: 3}
    # Each answer counts, as it does without replicas.
    assert complete(client, "alice", "a", "hi", n=4) == 400
    assert complete(client, "alice", "a", "hi", n=3) == 200


def test_the_front_counts_what_it_refuses(client: httpx.Client) -> None:
    assert client.post("/v3/completions", json={}).status_code == 401
    assert complete(client, "root", "b", "hi") == 200
    # The texts of the replicas are joined anew at most every 0.25 s.
    time.sleep(0.3)
    text = client.get("/metrics", headers=key("root")).text
    counts = {
        (sample.labels["engine"], sample.labels["handler"], sample.labels["status"])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "http_requests_total" and sample.labels["method"] == "POST"
    }
    assert ("front", "/{path}", "4xx") in counts
    # A replica has counted it.
    assert ("front", "/{path}", "2xx") not in counts
    assert 'http_requests_in_progress{engine="front"' not in text


def test_the_load_is_that_of_all_replicas(client: httpx.Client) -> None:
    def send(_: int) -> int:
        return complete(client, "root", "b", "!pause !pause !pause !pause")

    with ThreadPoolExecutor(4) as threads:
        sent = [threads.submit(send, n) for n in range(4)]
        loads = set()
        while not all(each.done() for each in sent):
            loads.add(client.get("/load", headers=key("root")).json()["server_load"])
            time.sleep(0.02)
    assert 4 in loads
