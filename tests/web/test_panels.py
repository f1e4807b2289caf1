"""What each panel shows."""

import re
from typing import Any

import pytest
from support.server_process import ServerProcess, server_process
from support.web.browser import expect
from support.web.pages import (
    HTML_NAME,
    HTML_NODE,
    LONG_NAME,
    UNICODE_NAME,
    WatchedPage,
    environment,
)


def test_models_are_listed_with_states_and_reasons(watched: WatchedPage) -> None:
    page = watched.show("models")
    row = page.get_by_role("row", name=re.compile("^tiny_chat "))
    expect(row).to_contain_text("available")
    expect(row).to_contain_text("text generation")
    broken = page.get_by_role("row", name=re.compile("^broken "))
    expect(broken).to_contain_text("failed")
    expect(broken).to_contain_text("no weights")
    expect(page.get_by_text("8 of 9 models can serve · 1 failed")).to_be_visible()
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name="tiny_chat", level=1)).to_be_focused()


def test_a_graph_is_drawn_as_it_is_configured(watched: WatchedPage, server: ServerProcess) -> None:
    page = watched.show("model/tiny_chat")
    drawing = page.get_by_role("img", name=re.compile("nodes: Tokenizer"))
    texts = drawing.locator("tspan, .name, .type").all_text_contents()
    expect(drawing.locator("g.node")).to_have_count(6)  # with the borders
    assert {"Tokenizer", "TokenizerCalculator", "LLMExecutor"} <= set(texts)
    # Streams with their types, side packets dashed.
    assert {"prompt", "TokenizedPrompt", "tokens", "TokenChunk"} <= set(texts)
    assert {"tokenizer", "Tokenizer", "OutputFormat"} <= set(texts)
    assert drawing.locator("path.edge.side").count() == 5
    assert drawing.locator("path.edge").count() == 11
    row = page.get_by_role("table", name="Nodes").get_by_role("row", name=re.compile("^LLMExec"))
    calls = int(row.get_by_role("cell").nth(3).inner_text())
    chat(server)
    expect(row.get_by_role("cell").nth(3)).to_have_text(str(calls + 1))
    page.get_by_text("Options of LLMExecutor").click()
    expect(page.get_by_text("enable_prefix_caching")).to_be_visible()


def test_the_load_of_nodes_and_edges_is_live(watched: WatchedPage, server: ServerProcess) -> None:
    page = watched.show("model/echo")
    node = page.locator("g.node", has_text="Fake")
    expect(node).to_contain_text("0 at work")
    body = {"model": "echo", "prompt": "!endless", "stream": True}
    stream = server.openai().completions.create(**body)  # type: ignore[call-overload]
    with stream:
        expect(node).to_contain_text("1 at work")
        expect(node).to_have_class(re.compile("busy"))
        expect(page.locator("path.edge.busy")).not_to_have_count(0)
        expect(page.locator("g.label", has_text="text")).to_contain_text("/s")
    expect(node).to_contain_text("0 at work")


def chat(server: ServerProcess) -> None:
    body = {"model": "tiny_chat", "messages": [{"role": "user", "content": "Hello"}]}
    assert server.post("/v3/chat/completions", body)[0] == 200


def test_a_failed_model_says_why(watched: WatchedPage) -> None:
    page = watched.show("model/broken")
    expect(page.locator(".notice")).to_contain_text("ValueError: no weights <svg onload=alert(2)>")
    expect(page.locator("h1")).to_have_text("broken")
    expect(page.get_by_role("link", name="Chat with it")).to_have_count(0)


@pytest.mark.parametrize("name", [HTML_NAME, UNICODE_NAME])
def test_names_are_texts(watched: WatchedPage, name: str) -> None:
    page = watched.show("models")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    if name == HTML_NAME:
        expect(page.locator("g.node .title")).to_contain_text(HTML_NODE)
    page.get_by_role("link", name="Chat with it").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value(name)


def test_a_model_that_is_not_there(watched: WatchedPage) -> None:
    page = watched.show("model/nothing")
    expect(page.get_by_text("There is no model “nothing” now.")).to_be_visible()


def test_charts_show_the_last_hour(watched: WatchedPage, server: ServerProcess) -> None:
    chat(server)
    page = watched.show("load")
    page.get_by_label("Model").select_option("tiny_chat")
    expect(page.locator(".chart canvas")).to_have_count(6)
    titles = page.locator(".chart h2").all_inner_texts()
    assert titles == [
        "Tokens per second",
        "Time to first token",
        "Inter-token latency",
        "KV cache in use",
        "Prefix-cache hits",
        "Requests",
    ]
    name = re.compile("Tokens per second, last hour; now")
    expect(page.get_by_role("img", name=name)).to_be_visible()
    drawn = """canvas => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.some((value) => value !== 0);
    }"""
    assert page.locator(".chart canvas").first.evaluate(drawn)


def test_embeddings_can_be_tried(watched: WatchedPage) -> None:
    page = watched.show("tryout")
    part = page.get_by_role("region", name="Embeddings")
    part.get_by_label("Texts, one a line").fill("one\none\nquite another text")
    part.get_by_role("button", name="Run").click()
    expect(part.get_by_text("3 vectors of 128 numbers")).to_be_visible()
    cells = part.get_by_role("table", name="Cosine similarity").get_by_role("row").nth(1)
    expect(cells.get_by_role("cell").nth(2)).to_have_text("1.00")
    part.get_by_text("This request as curl and Python").click()
    expect(part.get_by_text("client.embeddings.create(")).to_be_visible()


def test_reranking_can_be_tried(watched: WatchedPage) -> None:
    page = watched.show("tryout")
    part = page.get_by_role("region", name="Rerank")
    part.get_by_role("button", name="Run").click()
    expect(part.get_by_role("row").nth(1)).to_contain_text("Paris is the capital of France.")
    part.get_by_text("This request as curl and Python").click()
    expect(part.get_by_text("curl http")).to_be_visible()
    part.get_by_label("Documents, one a line").fill("")
    part.get_by_role("button", name="Run").click()
    expect(part.get_by_role("alert")).to_contain_text("documents")


def test_the_machine_and_what_was_tuned(watched: WatchedPage) -> None:
    page = watched.show("system")
    expect(page.get_by_role("region", name="Machine")).to_contain_text("Cores")
    tuning = page.get_by_role("table", name="Tuning")
    row = tuning.get_by_role("row", name=re.compile("^tiny_chat AMX"))
    expect(row.get_by_role("cell").nth(2)).to_have_text(re.compile("^(not )?used$"))


def test_what_tuning_measured_is_shown(watched: WatchedPage, server: ServerProcess) -> None:
    """The server of these tests does not tune itself, so its answer is completed here."""
    fast = {"INFERENCE_PRECISION_HINT": "f32"}
    ms = {"decode_1": 12.34, "decode_16": 56.0, "decode_64": 78.0, "prompt_256": 1234.5}
    tuning = {
        "properties": fast,
        "candidates": [
            {"properties": {}, "share": 1.0, "ms": ms},
            {"properties": fast, "share": 0.81, "ms": ms},
            {"properties": {"KEY_CACHE_QUANT_MODE": "BY_TOKEN"}, "share": None, "ms": None},
        ],
        "is_complete": False,
        "layers": [4, 24],
    }

    def complete(route: Any) -> None:
        response = route.fetch()
        status = response.json()
        for model in status["models"]:
            for node in (model["graph"] or {"nodes": ()})["nodes"]:
                if "auto_tuned" in node["status"]:
                    node["status"] |= {"auto_tuned": fast, "tuning": tuning}
        route.fulfill(response=response, json=status)

    watched.page.route("**/v1/status*", complete)
    page = watched.show("system")
    table = page.get_by_role("table", name="Tuning")
    rows = table.get_by_role("row", name=re.compile("^tiny_chat (Tried|Tuning)"))
    expect(rows).to_have_count(4)
    expect(rows.nth(0)).to_contain_text("OpenVINO's own properties")
    expect(rows.nth(0)).to_contain_text("1 answer: 12.3 ms")
    expect(rows.nth(0)).to_contain_text("64 answers: 78 ms")
    expect(rows.nth(1)).to_contain_text("chosen: requests take 81 % of the time")
    expect(rows.nth(1)).to_contain_text("from 4 of 24 layers")
    expect(rows.nth(2)).to_contain_text("does not run here")
    expect(rows.nth(3)).to_contain_text("not complete")


def test_the_check_finds_what_is_wrong_now(watched: WatchedPage) -> None:
    page = watched.show("system")
    page.get_by_role("button", name="Check now").click()
    part = page.get_by_role("region", name="Check")
    expect(part.get_by_text("9 models checked, no problem found.")).to_be_visible()


def test_30_models_can_be_filtered(look: Any, many: ServerProcess) -> None:
    page = look(many).show("models")
    expect(page.locator("tbody th").first).to_have_text("zz-broken")
    expect(page.locator("tbody tr")).to_have_count(30)
    expect(page.get_by_text("29 of 30 models can serve")).to_be_visible()
    page.get_by_label("Filter models").fill("FAILED")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Filter models").fill("very-long")
    page.get_by_role("link", name=LONG_NAME).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(LONG_NAME)
    page.go_back()
    page.get_by_label("Filter models").fill("no such")
    expect(page.get_by_text("No model matches “no such”.")).to_be_visible()


def test_no_model(look: Any, tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text('{"model_config_list": []}')
    with server_process("--config_path", tmp_path, env=environment()) as process:
        watched = look(process)
        page = watched.show("models")
        expect(page.get_by_text("No model is configured.")).to_be_visible()
        watched.show("load")
        expect(page.get_by_text("No model that generates text is loaded.")).to_be_visible()
        watched.show("chat")
        expect(page.get_by_text("No model that chats can serve now.")).to_be_visible()
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
        watched.show("tryout")
        expect(page.get_by_text("No model for embeddings or reranking")).to_be_visible()
