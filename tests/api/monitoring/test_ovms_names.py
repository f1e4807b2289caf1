"""Model Server's metrics, where they are asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fakes import echo_graph
from support.resident_models import resident_manager
from support.serving import Server

from server.api.monitoring.http_requests import HttpNumbers
from server.api.monitoring.metrics_text import metrics_text
from server.api.monitoring.ovms_names import OVMS_METRICS
from server.api.monitoring.ovms_numbers import ALWAYS_ON, OVMS
from server.host.metrics.ovms_metrics import DEFAULT_METRICS, OPTIONAL_METRICS

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "a b"}]}


@pytest.fixture
def enabled() -> Iterator[None]:
    OVMS.enable()
    yield
    OVMS.names = ALWAYS_ON
    OVMS.runs.clear()


async def text_of(server: Server) -> str:
    return metrics_text(server.manager, HttpNumbers()).decode()


async def test_requests_to_a_graph(enabled: None, server: Server) -> None:
    await server.post("/v3/chat/completions", CHAT)
    await server.post_text("/v3/chat/completions", {**CHAT, "stream": True})
    failing = {"model": "echo", "messages": [{"role": "user", "content": "!invalid"}]}
    await server.post("/v3/chat/completions", failing)
    text = await text_of(server)
    labels = '{api="V3",interface="REST",method="Unary",name="echo"}'
    assert f"ovms_requests_accepted{labels} 2.0" in text
    assert f"ovms_requests_accepted{labels.replace('Unary', 'Stream')} 1.0" in text
    assert 'ovms_current_graphs{name="echo"} 0.0' in text
    assert 'ovms_graph_processing_time_us_count{method="Unary",name="echo"} 2.0' in text
    assert 'ovms_graph_processing_time_us_bucket{method="Unary",name="echo",le="18.0"} 0.0' in text
    assert "ovms_infer_req_active" not in text


async def test_nothing_is_counted_unless_it_is_asked_for(server: Server) -> None:
    await server.post("/v3/chat/completions", CHAT)
    assert OVMS.runs == {}
    text = await text_of(server)
    assert 'ovms_graph_loaded{name="echo"} 1.0' in text
    assert 'ovms_graph_loaded{name="broken"} 0.0' in text
    assert "ovms_requests" not in text


async def test_only_those_that_are_listed(enabled: None, server: Server) -> None:
    OVMS.enable(["ovms_responses"])
    await server.post("/v3/chat/completions", CHAT)
    names = {line.split("{")[0] for line in (await text_of(server)).splitlines()}
    assert {name for name in names if name.startswith("ovms_")} == {"ovms_responses"}


async def test_a_model_that_is_unloaded_is_not_loaded(tmp_path: Path) -> None:
    async with resident_manager(tmp_path, {"m": echo_graph()}) as manager:
        assert b'ovms_graph_loaded{name="m"} 1.0' in metrics_text(manager, HttpNumbers())
        residency = manager._residency
        assert residency is not None
        await residency._memory.unload(list(manager.all_models()), "a test")
        text = metrics_text(manager, HttpNumbers())
        assert b'ovms_graph_loaded{name="m"} 0.0' in text
        assert b"server:node_calls" not in text


def test_every_name_of_the_switches_is_there() -> None:
    assert {*DEFAULT_METRICS, *OPTIONAL_METRICS} == {*OVMS_METRICS}
