"""The chat: streaming, stop, parameters, reasoning, tool calls, pictures, the keyboard."""

import base64
import json
import re
from typing import Any

import pytest
from support.server_process import ServerProcess
from support.web.browser import Page, expect
from support.web.pages import WatchedPage

# One white point.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg=="
)


def ask(page: Page, text: str, model: str = "echo") -> None:
    page.get_by_label("Model", exact=True).select_option(model)
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_an_answer_is_streamed(watched: WatchedPage) -> None:
    page = watched.show("chat")
    ask(page, "first !pause !pause !pause !pause last")
    answer = page.get_by_role("article", name="Answer of echo")
    expect(answer).to_contain_text("first")
    assert "last" not in answer.inner_text()
    expect(answer).to_have_attribute("aria-busy", "true")
    expect(answer).to_contain_text("last")
    expect(answer).to_contain_text(re.compile(r"first token after .* 6 tokens in .* 6 out"))
    expect(answer).not_to_have_attribute("aria-busy", "true")


def test_a_real_model_answers_a_conversation(watched: WatchedPage) -> None:
    page = watched.show("chat/tiny_chat")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Message").fill("Count to five.")
    page.get_by_label("Message").press("Enter")
    expect(page.get_by_role("article", name="Answer of tiny_chat")).to_contain_text("1, 2, 3")


def test_stop_ends_the_answer_in_the_server(watched: WatchedPage, server: ServerProcess) -> None:
    page = watched.show("chat")
    ask(page, "!endless")
    answer = page.get_by_role("article", name="Answer of echo")
    expect(answer).to_contain_text("again again")
    page.get_by_role("button", name="Stop").click()
    expect(answer).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.goto(f"{server.url}/#/model/echo")
    expect(page.locator("g.node", has_text="Fake")).to_contain_text("0 at work")


def test_system_prompt_and_parameters_are_sent(watched: WatchedPage) -> None:
    page = watched.show("chat")
    page.get_by_label("System prompt").fill("Be short.")
    page.get_by_label("Temperature").fill("0.5")
    page.get_by_label("Most tokens").fill("2")
    page.get_by_label("Stop text").fill("END")
    with page.expect_request("**/v3/chat/completions") as sent:
        ask(page, "one two three")
    body = sent.value.post_data_json
    assert body["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "one two three"},
    ]
    assert (body["temperature"], body["max_completion_tokens"], body["stop"]) == (0.5, 2, ["END"])
    assert "seed" not in body
    answer = page.get_by_role("article", name="Answer of echo")
    expect(answer).to_contain_text("cut at the most tokens")
    assert "three" not in answer.inner_text()
    # The conversation goes on with what was answered.
    with page.expect_request("**/v3/chat/completions") as sent:
        ask(page, "more")
    roles = [message["role"] for message in sent.value.post_data_json["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    page.get_by_role("button", name="New chat").click()
    expect(page.get_by_role("article")).to_have_count(0)


def test_reasoning_and_tool_calls_are_shown(watched: WatchedPage) -> None:
    page = watched.show("chat")
    page.get_by_label("Tools").fill(json.dumps([tool("f"), tool("g")]))
    ask(page, "look", "parsed")
    answer = page.get_by_role("article", name="Answer of parsed")
    expect(answer).to_contain_text("Let me look")
    expect(answer.get_by_text("I think")).to_be_hidden()
    answer.get_by_text("Reasoning").click()
    expect(answer.get_by_text("I think")).to_be_visible()
    expect(answer.get_by_role("region", name="Call of f")).to_contain_text('"x": 1')
    expect(answer.get_by_role("region", name="Call of g")).to_contain_text("{}")
    page.get_by_label("Result of f").fill("42")
    page.get_by_label("Result of g").fill("43")
    with page.expect_request("**/v3/chat/completions") as sent:
        page.get_by_role("button", name="Send results").click()
    messages = sent.value.post_data_json["messages"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_a", "call_b"]
    assert messages[2:] == [
        {"role": "tool", "tool_call_id": "call_a", "content": "42"},
        {"role": "tool", "tool_call_id": "call_b", "content": "43"},
    ]
    expect(page.get_by_role("article", name="Answer of parsed")).to_have_count(2)


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def test_tools_that_are_no_json_are_said(watched: WatchedPage) -> None:
    page = watched.show("chat")
    page.get_by_label("Tools").fill("[{")
    ask(page, "hi")
    expect(page.get_by_role("alert").get_by_text("Tools are not JSON")).to_be_visible()
    expect(page.get_by_label("Message")).to_have_value("hi")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!invalid", "because of !invalid"),
        ("word !generation", "because of !generation"),
        ("!invalid <script>alert(1)</script>", "because of !invalid"),
    ],
)
def test_errors_are_shown(watched: WatchedPage, text: str, message: str) -> None:
    page = watched.show("chat")
    ask(page, text)
    expect(page.locator(".message .error")).to_contain_text(message)


def test_answers_are_texts(watched: WatchedPage) -> None:
    page = watched.show("chat")
    evil = "<img/src=x/onerror=alert(1)> <script>alert(2)</script> [a](javascript:alert(3))"
    ask(page, f"{evil} **strong** `code`\n\n```html\n<b>{evil}\n```\n\n- one\n- two\n\n1. x")
    answer = page.get_by_role("article", name="Answer of echo")
    expect(answer.locator("ul li")).to_have_count(2)
    expect(answer.locator("strong")).to_have_text("strong")
    expect(answer.locator("pre")).to_contain_text("<script>alert(2)</script>")
    expect(answer).to_contain_text("[a](javascript:alert(3))")
    assert answer.locator("img, script, a, b").count() == 0


def test_pictures_go_to_graphs_that_take_requests_themselves(watched: WatchedPage) -> None:
    page = watched.show("chat")
    page.get_by_label("Model", exact=True).select_option("echo")
    expect(page.get_by_label("Pictures")).to_be_hidden()
    page.get_by_label("Model", exact=True).select_option("raw")
    page.get_by_label("Pictures").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": PNG}
    )
    expect(page.get_by_role("img", name="Picture 1")).to_be_visible()
    with page.expect_request("**/v3/chat/completions") as sent:
        ask(page, "What is it?", "raw")
    text, picture = sent.value.post_data_json["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")


def test_the_keyboard_is_enough(watched: WatchedPage) -> None:
    page = watched.show("models")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    go_to(page, "Chat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Chat")).to_be_focused()
    go_to(page, "Model")
    page.keyboard.type("echo")
    go_to(page, "Message")
    page.keyboard.type("!endless")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Answer of echo")).to_contain_text("again")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Answer of echo")).to_contain_text("stopped")
    expect(page.get_by_label("Message")).to_be_focused()


def go_to(page: Page, name: str) -> None:
    """Press Tab until the control of that name has the focus, which must be visible there."""
    focused = """() => {
        const element = document.activeElement;
        const name = element.ariaLabel ?? element.labels?.[0]?.textContent
            ?? element.textContent;
        return [name, getComputedStyle(element).outlineStyle];
    }"""
    for _ in range(40):
        page.keyboard.press("Tab")
        found, outline = page.evaluate(focused)
        if found == name:
            assert outline != "none"
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_two_tabs_talk_apart(watched: WatchedPage) -> None:
    first = watched.show("chat")
    second = watched.show("chat", watched.open())
    ask(first, "!endless")
    ask(second, "hello there")
    expect(second.get_by_role("article", name="Answer of echo")).to_contain_text("hello there")
    first.get_by_role("button", name="Stop").click()
    expect(first.get_by_role("article", name="Answer of echo")).to_contain_text("stopped")


def test_the_request_is_given_as_curl_and_python(watched: WatchedPage) -> None:
    page = watched.show("chat")
    ask(page, 'it\'s "quoted"')
    page.get_by_text("This request as curl and Python").click()
    shell, program = page.locator(".snippets pre").all_inner_texts()
    assert "it'\\''s" in shell
    compile(program, "snippet", "exec")
    assert '"content": "it\'s \\"quoted\\""' in program
