"""The client programs that need nothing but what the tests install; `make clients` runs all."""

from collections.abc import Iterator

import pytest
from clients.clients import CLIENTS, Client, run_client, table_lines
from support.server_process import ServerProcess, server_process

LIGHT = [client for client in CLIENTS if client.is_light]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with server_process("tiny_chat") as process:
        yield process


@pytest.mark.parametrize("client", LIGHT, ids=lambda client: client.program)
def test_a_client(client: Client, server: ServerProcess) -> None:
    results = run_client(client, server.url)
    assert len(results) == 4
    assert set(results.values()) == {"works"}, results


def test_the_table_says_what_does_not_work() -> None:
    rows = {client.name: {"chat": "works", "tools": "Error: no"} for client in CLIENTS}
    lines = list(table_lines({"openai": "2.0"}, rows))
    assert lines[2] == "| OpenAI, chat completions | `openai` 2.0 | works | - | does not | - | - |"
    assert lines[-1] == "- AI SDK, Anthropic, tools: Error: no"
