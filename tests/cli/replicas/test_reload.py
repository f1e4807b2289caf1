"""Changes of the configuration reach all replicas, one after the other."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from support.fakes import echo_graph, write_graph, write_repository
from support.replicas.replicated import Replicated, replicated

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


def add_model(config: Path, name: str) -> None:
    write_graph(config.parent / name, echo_graph(open_s=0.5))
    document = json.loads(config.read_text())
    document["model_config_list"].append({"config": {"name": name, "base_path": name}})
    config.write_text(json.dumps(document))


def check_one_after_the_other(server: Replicated, name: str) -> None:
    ends = f"Model {name} is available"
    server.until(lambda: server.logged(ends) == 2, "the log does not say that both have it")
    begun = [f"Loading model {name} " in line for line in server.log]
    ended = [ends in line for line in server.log]
    assert begun.count(True) == ended.count(True) == 2
    second = len(begun) - 1 - begun[::-1].index(True)
    assert ended.index(True) < second


def available(server: Replicated, name: str) -> int:
    config = server.get("/v1/config")[1]
    replicas = config.get(name, {}).get("replicas", [])
    return sum(each["model_version_status"][0]["state"] == "AVAILABLE" for each in replicas)


def test_a_reload_reaches_all_replicas(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"echo": echo_graph()})
    with replicated("--config_path", config, "--file_system_poll_wait_seconds", "0") as server:
        assert server.post("/v1/config/reload", {})[0] == 200
        add_model(config, "second")
        status, states = server.post("/v1/config/reload", {})
        assert (status, sorted(states)) == (201, ["echo", "second"])
        assert len(states["second"]["replicas"]) == 2
        check_one_after_the_other(server, "second")
        add_model(config, "third")
        server.process.send_signal(signal.SIGHUP)
        server.until(lambda: available(server, "third") == 2, "SIGHUP reloads nothing")
        config.write_text("{")
        status, error = server.post("/v1/config/reload", {})
        assert status == 412
        assert re.match("replica 0: reloading failed: .*config.json", error["error"]["message"])
        assert server.ask("still here")[1] == "still here"


@pytest.mark.slow
def test_a_changed_file_is_loaded_by_one_replica_after_the_other(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"echo": echo_graph()})
    with replicated("--config_path", config, "--file_system_poll_wait_seconds", "0.2") as server:
        add_model(config, "second")
        server.until(lambda: available(server, "second") == 2, "not loaded")
        check_one_after_the_other(server, "second")
