"""What happens when a replica, or the front, ends without warning; and how all end together."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.fakes import echo_graph, write_repository
from support.replicas.replicated import Replicated, replicated
from support.server_command import started

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_replica_ends_its_own_streams_alone(
    server: Replicated, number: signal.Signals
) -> None:
    server.until_all_serve()
    with server.stream("!endless") as one, server.stream("!endless") as other:
        lines = {int(r.headers["X-Replica"]): r.iter_lines() for r in (one, other)}
        assert set(lines) == {0, 1}
        next(lines[0]), next(lines[1])
        victim = server.children()[0]
        os.kill(victim, number)
        rest = [line for line in lines[0] if line]
        error = json.loads(rest[-1].removeprefix("data: "))["error"]
        assert error["type"] in ("server_error", "service_unavailable")
        assert "replica 0 ended" in error["message"] or "shutting down" in error["message"]
        assert all(json.loads(line.removeprefix("data: ")) for line in rest)
        # What comes now is answered by the other one.
        assert [server.ask(f"now {n}") for n in range(3)] == [(1, f"now {n}") for n in range(3)]
        assert "again" in "".join(next(lines[1]) for _ in range(6))
    server.until_all_serve()
    assert server.children()[0] != victim


@pytest.mark.parametrize(
    ("path", "event"),
    [("/v3/responses", "event: error"), ("/v3/v1/messages", "event: error")],
)
def test_a_broken_stream_ends_with_an_error_of_its_protocol(
    server: Replicated, path: str, event: str
) -> None:
    server.until_all_serve()
    body = {"model": "echo", "stream": True, "max_tokens": 100}
    text = [{"role": "user", "content": "!endless"}]
    body |= {"input": "!endless"} if path.endswith("responses") else {"messages": text}
    with httpx.stream("POST", server.url + path, json=body, timeout=60) as response:
        lines = response.iter_lines()
        assert any("again" in next(lines) for _ in range(100))
        os.kill(server.children()[int(response.headers["X-Replica"])], signal.SIGKILL)
        rest = [line for line in lines if line]
    assert rest[-2] == event
    assert "ended while it worked on this request" in rest[-1]
    server.until_all_serve()


def test_a_request_without_an_answer_gets_one_from_another_replica(server: Replicated) -> None:
    server.until_all_serve()
    requests, retries = 'front:requests_total{engine="front",replica="1"}', "front:retries_total"
    num_requests, num_retries = server.metric(requests), server.metric(retries)
    text = "!pause !pause !pause !pause !pause !pause late"
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(server.ask, text) for _ in range(2)]
        server.until(lambda: server.metric(requests) > num_requests, "replica 1 gets nothing")
        os.kill(server.children()[1], signal.SIGKILL)
        assert [answer.result() for answer in answers] == [(0, text)] * 2
    server.until_all_serve()
    assert server.metric(retries) == num_retries + 1


@pytest.mark.slow
def test_a_replica_that_ends_again_and_again_is_started_later_each_time(
    server: Replicated,
) -> None:
    server.until_all_serve()
    before = len(server.log)
    for _ in range(2):
        pid = server.children()[1]
        os.kill(pid, signal.SIGKILL)
        server.until(lambda pid=pid: server.children().get(1, pid) != pid, "not started again")
    told = [line for line in server.log[before:] if "it is started again in" in line]
    pauses = [float(line.split()[-2]) for line in told]
    assert pauses[1] == 2 * pauses[0]
    server.until_all_serve()


def test_no_replica_survives_a_killed_front(config: Path) -> None:
    with replicated("--config_path", config) as server:
        replicas = list(server.children().values())
        assert len(replicas) == 2
        server.process.kill()
        server.wait()
        server.until(lambda: not any(map(is_alive, replicas)), "a replica lives on")


def test_the_front_drains_before_its_replicas_end(config: Path) -> None:
    with replicated("--config_path", config) as server:
        replicas = list(server.children().values())
        text = "begin !pause !pause !pause !pause end"
        with server.stream(text) as one, server.stream(text) as other:
            lines = [one.iter_lines(), other.iter_lines()]
            assert all("begin" in next(each) for each in lines)
            server.process.send_signal(signal.SIGTERM)
            server.until(lambda: server.get("/v2/health/ready")[0] == 503, "not draining")
            refused = httpx.post(f"{server.url}/v3/chat/completions", json={"model": "echo"})
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert [list(filter(None, each))[-1] for each in lines] == ["data: [DONE]"] * 2
        assert server.wait() == 0
        assert not any(map(is_alive, replicas))
        assert server.logged("Traceback") == 0


@pytest.mark.slow
def test_a_stream_that_is_still_running_after_the_drain_ends_with_an_error(config: Path) -> None:
    with replicated("--config_path", config, "--drain_timeout_s", "0.5") as server:
        with server.stream("!endless") as response:
            lines = response.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert "shutting down" in rest[-1]
        assert server.wait() == 0


@pytest.mark.slow
def test_a_replica_that_fails_to_start_fails_the_server(tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"m": echo_graph(open_s=30.0)})
    with started("--config_path", config, "--replicas", "2") as process:
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            if "[replica 0]" in line and "Loading model" in line:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
                os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        assert process.wait(60) == 1
    assert "was ended by SIGKILL; the lines above say why" in log[-2], log


def test_more_replicas_than_cores(config: Path) -> None:
    with started("--config_path", config, "--replicas", "9999") as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--replicas 9999: possible: 1 to " in log
