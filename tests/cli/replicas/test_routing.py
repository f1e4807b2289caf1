"""Where requests go, and what the front joins."""

import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.replicas.replicated import Replicated

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


def test_each_replica_keeps_to_its_core(server: Replicated) -> None:
    for number, pid in server.children().items():
        masks = {
            re.search(r"Cpus_allowed_list:\s*(\S+)", task.joinpath("status").read_text())[1]
            for task in Path(f"/proc/{pid}/task").iterdir()
        }
        assert masks == {str(sorted(os.sched_getaffinity(0))[number])}


def test_conversations_stay_where_their_prompt_is(server: Replicated) -> None:
    def talk(number: int) -> list[int]:
        messages, replicas = [f"conversation {number}"], []
        for turn in range(4):
            replica, answer = server.ask(*messages)
            assert answer == messages[-1]
            replicas.append(replica)
            messages += [answer, f"turn {turn}"]
        return replicas

    server.until_all_serve()
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(talk, range(6)))
    assert all(len(set(replicas)) == 1 for replicas in found)
    assert {replicas[0] for replicas in found} == {0, 1}


def test_requests_are_divided(server: Replicated) -> None:
    server.until_all_serve()
    text = "the same" + 6 * " !pause"
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: server.ask(text)[0], range(8)))
    assert Counter(found) == {0: 4, 1: 4}


def test_states_are_those_of_all_replicas(server: Replicated) -> None:
    status, config = server.get("/v1/config")
    assert status == 200
    assert config["echo"]["model_version_status"][0]["state"] == "AVAILABLE"
    assert [each["replica"] for each in config["echo"]["replicas"]] == [0, 1]
    assert server.get("/v2/health/ready")[0] == 200
    assert server.get("/v3/models")[1]["data"][0]["id"] == "echo"


def test_one_scrape_has_the_metrics_of_all(server: Replicated) -> None:
    text = httpx.get(f"{server.url}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    memory = families["process_resident_memory_bytes"].samples
    assert {sample.labels["engine"] for sample in memory} == {"0", "1", "front"}


def test_an_answer_is_counted_in_the_next_scrape(server: Replicated) -> None:
    def count() -> float:
        lines = httpx.get(f"{server.url}/metrics").text.splitlines()
        named = [line for line in lines if line.startswith("http_requests_total{")]
        chats = [line for line in named if "/chat/completions" in line and '"2xx"' in line]
        return sum(float(line.split()[-1]) for line in chats)

    server.ask("hello")
    before = count()
    for number in range(1, 4):
        server.ask("hello")
        assert count() == before + number


def test_the_snapshot_has_the_models_of_all(server: Replicated) -> None:
    status, told = server.get("/v1/status?since=0")
    assert status == 200
    assert [(m["name"], m["replica"], m["state"]) for m in told["models"]] == [
        ("echo", 0, "AVAILABLE"),
        ("echo", 1, "AVAILABLE"),
    ]
    assert told["server"]["pid"] == server.process.pid
    assert told["server"]["ready"]
    pids = {each["replica"]: each["server"]["pid"] for each in told["replicas"]}
    assert pids == server.children()
    used = [each["memory"]["used_bytes"] for each in told["replicas"]]
    assert told["memory"]["used_bytes"] == sum(used)
    assert server.get("/v1/status?since=x")[0] == 400


def test_answers_are_those_of_a_single_server(server: Replicated) -> None:
    missing = httpx.post(f"{server.url}/v3/chat/completions", json={"model": "x", "messages": []})
    assert missing.status_code in (400, 404)
    assert missing.json()["error"]["type"] == "invalid_request_error"
    answer = httpx.get(f"{server.url}/v3/models", headers={"X-Request-Id": "mine"})
    assert answer.headers["X-Request-Id"] == "mine"
    assert "Server" not in answer.headers
    assert len(answer.headers.get_list("Access-Control-Allow-Methods")) == 1
    broken = httpx.post(f"{server.url}/v3/chat/completions", content=b"{")
    assert broken.status_code == 400
    assert httpx.head(f"{server.url}/v3/models").status_code == 200
    assert httpx.options(f"{server.url}/v3/models").status_code == 200
    assert httpx.get(f"{server.url}//v3/models/").status_code == 200
    server.until(lambda: server.logged("[replica", "id=mine") == 1, "one line for the request")


def test_only_the_front_may_ask_a_replica(server: Replicated, config: Path) -> None:
    (folder,) = config.parent.glob("replicas-*")
    assert folder.stat().st_mode & 0o77 == 0
    transport = httpx.HTTPTransport(uds=str(folder / "0.http"))
    with httpx.Client(transport=transport) as client:
        secrets = {"X-Front-Secret": "guessed", "X-Front-Facts": "e30="}
        answer = client.get("http://replica/v3/models", headers=secrets)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "not_from_front"


def test_a_client_cannot_speak_as_the_front(server: Replicated) -> None:
    facts = {"X-Front-Facts": "bm90IGpzb24=", "X-Front-Secret": "x"}
    assert httpx.get(f"{server.url}/v3/models", headers=facts).status_code == 200


def test_a_client_that_leaves_stops_its_request(server: Replicated) -> None:
    before = server.logged("[replica", " 499 ", "error=client_gone")
    with server.stream("!endless") as response:
        next(response.iter_lines())
    server.until(
        lambda: server.logged("[replica", " 499 ", "error=client_gone") == before + 1,
        "the replica goes on",
    )
