"""GET /metrics, on a real socket."""

import threading

from prometheus_client.parser import text_string_to_metric_families
from support.serving import Server

from server.host.metrics import gauge


async def test_the_text_form(server: Server) -> None:
    async with server.http.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name for family in text_string_to_metric_families(await response.text())}
    assert {"process_resident_memory_bytes", "process_open_fds"} <= families


async def test_values_are_read_off_the_event_loop(server: Server) -> None:
    readers: set[int] = set()

    def read() -> float:
        readers.add(threading.get_ident())
        return 7

    gauge("test_read_on_demand", "a gauge of a test").set_function(read)
    async with server.http.get("/metrics") as response:
        assert "test_read_on_demand 7.0" in await response.text()
    assert readers
    assert threading.get_ident() not in readers
