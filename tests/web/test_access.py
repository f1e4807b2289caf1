"""The API key, a server that goes away, the theme, and what the page loads."""

import re
from pathlib import Path
from typing import Any

from support.fakes import echo_graph, write_repository
from support.server_process import ServerProcess, server_process
from support.web.browser import Page, expect
from support.web.pages import PANELS, WatchedPage, environment

KEY = "right key"


def give_key(page: Page, key: str) -> None:
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_label("Key").fill(key)
    dialog.get_by_role("button", name="Use this key").click()


def test_the_key_is_asked_for_and_kept_in_the_tab(look: Any, tmp_path: Path) -> None:
    config = write_repository(tmp_path, {"echo": echo_graph()})
    arguments = ("--config_path", config, "--api_key_protects", "all")
    with server_process(*arguments, env=environment(KEY)) as process:
        watched = look(process)
        page = watched.page
        page.goto(process.url)
        dialog = page.get_by_role("dialog", name="API key")
        expect(dialog).to_contain_text("no API key was sent")
        dialog.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("The status of the server needs an API key.")).to_be_visible()
        page.get_by_role("button", name="API key").click()
        give_key(page, "wrong")
        expect(dialog).to_contain_text("the API key is wrong")
        give_key(page, KEY)
        expect(page.get_by_role("link", name="echo")).to_be_visible()
        expect(dialog).to_have_count(0)
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
            *(0, 1, ""),
        ]
        page.reload()
        expect(page.get_by_role("link", name="echo")).to_be_visible()
        page.goto(f"{process.url}/#/chat")
        page.get_by_label("Message").fill("hello")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("article", name="Answer of echo")).to_contain_text("hello")
        page.get_by_text("This request as curl and Python").click()
        expect(page.locator(".snippets pre").first).to_contain_text("Bearer $API_KEY")
        assert KEY not in page.locator(".snippets").inner_text()
        # Another tab has no key of its own.
        other = watched.open()
        other.goto(process.url)
        expect(other.get_by_role("dialog", name="API key")).to_be_visible()


def test_a_server_that_goes_away_and_returns(look: Any, tmp_path: Path) -> None:
    arguments = ("--config_path", write_repository(tmp_path, {"echo": echo_graph()}))
    with server_process(*arguments, env=environment()) as process:
        page = look(process).show("models")
        port = process.url.rpartition(":")[2]
        process.stop()
        expect(page.get_by_role("alert")).to_contain_text("the server does not answer")
        expect(page.get_by_role("link", name="echo")).to_be_visible()
        page.get_by_role("link", name="Chat").click()
        page.get_by_label("Message").fill("hi")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".message .error")).to_contain_text("the server does not answer")
    with server_process(*arguments, "--rest_port", port, env=environment()):
        expect(page.locator("#banner")).to_be_hidden(timeout=30_000)
        expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_the_theme_is_the_systems_until_one_is_chosen(look: Any, server: ServerProcess) -> None:
    watched: WatchedPage = look(server, color_scheme="dark")
    page = watched.show("models")
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    button = page.get_by_role("button", name=re.compile("^Theme"))
    button.click()
    light = page.evaluate(back)
    assert light != dark
    page.reload()
    assert page.evaluate(back) == light
    button.click()
    assert page.evaluate(back) == dark
    page.emulate_media(color_scheme="light")
    assert page.evaluate(back) == dark


def test_everything_comes_from_the_server(watched: WatchedPage, server: ServerProcess) -> None:
    urls: list[str] = []
    watched.page.on("request", lambda request: urls.append(request.url))
    for panel in (*PANELS, "model/tiny_chat"):
        watched.show(panel)
    assert {url for url in urls if not url.startswith(server.url + "/")} == set()
