"""Servers that show something, and a browser that looks."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.server_process import ServerProcess, server_process

# What needs Playwright is imported by the fixtures: without it, the tests are skipped one by one.


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from support.web.pages import find_chromium, running_browser

    if find_chromium() is None:
        pytest.skip("there is no chromium; `apt-get install chromium` brings it")
    with running_browser() as found:
        yield found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with models of every kind, a failed one among them."""
    from support.web.pages import environment, write_models

    config = write_models(tmp_path_factory.mktemp("web"))
    with server_process("--config_path", config, env=environment()) as process:
        yield process


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with 30 models."""
    from support.web.pages import environment, write_many

    config = write_many(tmp_path_factory.mktemp("many"))
    with server_process("--config_path", config, env=environment()) as process:
        yield process


@pytest.fixture
def look(browser: Any) -> Iterator[Any]:
    """Makes pages; at the end none of them may have had a problem."""
    from support.web.pages import WatchedPage

    contexts: list[WatchedPage] = []

    def make(server: ServerProcess, **settings: Any) -> WatchedPage:
        settings = {"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **settings}
        watched = WatchedPage(browser.new_context(**settings), server.url)
        contexts.append(watched)
        return watched

    yield make
    problems = [problem for watched in contexts for problem in watched.problems]
    for watched in contexts:
        watched.context.close()
    assert problems == []


@pytest.fixture
def watched(look: Any, server: ServerProcess) -> Any:
    """A page of the server with models of every kind."""
    return look(server)
