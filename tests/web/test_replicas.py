"""The page of a server with two replicas, one of which is killed while somebody looks."""

import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from support.fakes import echo_graph, write_repository
from support.replicas.replicated import Replicated, replicated
from support.web.browser import expect
from support.web.pages import BUNDLED, WatchedPage, add_models, environment

needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
NUMBERS = (0, 1)

SUM = """async (histories) => {
    const { sumHistories } = await import("/web/history.js");
    return sumHistories(histories);
}"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    config = write_repository(tmp_path_factory.mktemp("pair"), {"echo": echo_graph()})
    add_models(config, {"tiny_chat": BUNDLED / "tiny_chat"})
    with replicated("--config_path", config, env=environment()) as server:
        yield server


@pytest.mark.slow
@needs_two_cores
def test_models_and_charts_are_those_of_both(look: Any, pair: Replicated) -> None:
    pair.until_all_serve()
    watched: WatchedPage = look(pair)
    page = watched.show("models")
    expect(page.get_by_text("4 of 4 models can serve")).to_be_visible()
    labels = [f"tiny_chat, replica {number}" for number in NUMBERS]
    for label in labels:
        expect(page.get_by_role("link", name=label, exact=True)).to_be_visible()
    watched.show("load")
    options = page.get_by_label("Model").locator("option").all_inner_texts()
    assert options == ["all models", *labels]
    expect(page.locator(".chart canvas")).to_have_count(6)
    page.goto(f"{pair.url}/#/model/{labels[1].replace(' ', '%20')}")
    expect(page.get_by_role("heading", name=labels[1], level=1)).to_be_visible()
    expect(page.locator("g.node", has_text="LLMExecutor")).to_be_visible()


@pytest.mark.slow
@needs_two_cores
def test_a_killed_replica_is_named_and_the_other_one_answers(look: Any, pair: Replicated) -> None:
    pair.until_all_serve()
    watched: WatchedPage = look(pair)
    page = watched.show("models")
    left, lost = (f"tiny_chat, replica {number}" for number in (1, 0))
    os.kill(pair.children()[0], signal.SIGKILL)
    pair.until(lambda: "problem" in str(pair.get("/v1/status")[1]["replicas"]), "nobody noticed")
    # It is asked at once, for the replica is back soon.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    notice = page.get_by_text(re.compile("Replica 0 does not answer: its process .* SIGKILL"))
    expect(notice).to_be_visible()
    expect(page.get_by_role("link", name=lost)).to_have_count(0)
    # It keeps its name, and with it what the charts have of it.
    expect(page.get_by_role("link", name=left, exact=True)).to_be_visible()
    page.goto(f"{pair.url}/#/chat/tiny_chat")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Message").fill("What is the capital of France?")
    page.get_by_label("Message").press("Enter")
    expect(page.get_by_role("article", name="Answer of tiny_chat")).to_contain_text("Paris")
    page.goto(f"{pair.url}/#/models")
    expect(page.get_by_role("link", name=lost, exact=True)).to_be_visible(timeout=60_000)
    expect(notice).to_be_hidden()


def test_points_of_replicas_are_added_up(watched: WatchedPage) -> None:
    page = watched.show("load")
    names = ("running", "waiting", "tokensPerSecond", "ttft", "itl", "kvUse", "prefixHits")
    # They note their points at moments of their own; the second one has not noted its newest yet.
    times, values = ([101, 106, 111], [99, 104]), ([1, 2, 3], [5, None])
    histories = [
        {"time": moments, **dict.fromkeys(names, points)}
        for moments, points in zip(times, values, strict=True)
    ]
    total = page.evaluate(SUM, histories)
    assert total["time"] == [100, 105]
    assert total["running"] == [6, 2]
    assert total["ttft"] == [3, 2]
