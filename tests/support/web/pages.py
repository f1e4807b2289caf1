"""The page at `/` in a real Chromium: servers with something to show, and what is wrong with it."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.fakes import RAW_GRAPH, echo_graph, parsed_graph, write_repository
from support.web.browser import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

BUNDLED = Path(__file__).parents[3] / "server" / "bundled_models"
PANELS = ("models", "load", "chat", "tryout", "system")
LONG_NAME = "organisation/a-model-of-a-very-long-name-" + "that-goes-on-" * 8 + "Q4_K_M"
UNICODE_NAME = "模型-Über-מודל-🙂"
HTML_NAME = "<img src=x onerror=alert(1)>"
HTML_NODE = "<svg onload=alert(2)>"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def find_chromium() -> str | None:
    """The program of the browser, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def write_models(folder: Path) -> Path:
    """Models of every kind that the page shows; returns config.json."""
    graphs = {
        "echo": echo_graph(),
        "parsed": parsed_graph(),
        "raw": RAW_GRAPH,
        "broken": echo_graph(fail=f"no weights {HTML_NODE}"),
        UNICODE_NAME: echo_graph(),
        HTML_NAME: echo_graph().replace('name: "Fake"', f'name: "{HTML_NODE}"'),
    }
    bundled = {name: BUNDLED / name for name in ("tiny_chat", "tiny_embedder", "tiny_reranker")}
    return add_models(write_repository(folder, graphs), bundled)


def add_models(config: Path, folders: Mapping[str, Path]) -> Path:
    """Add models of other folders to a config.json."""
    document = json.loads(config.read_text())
    document["model_config_list"] += [
        {"config": {"name": name, "base_path": str(folder)}} for name, folder in folders.items()
    ]
    config.write_text(json.dumps(document))
    return config


def write_many(folder: Path) -> Path:
    """30 models, one of which has a long name and one of which failed; returns config.json."""
    graphs = {f"org/model-{number:02}": echo_graph() for number in range(28)}
    return write_repository(
        folder, {**graphs, LONG_NAME: echo_graph(), "zz-broken": echo_graph(fail="no weights")}
    )


def environment(key: str = "") -> dict[str, str]:
    """That of a server with an API key, or without one."""
    found = {name: value for name, value in os.environ.items() if name != "API_KEY"}
    return {**found, "API_KEY": key} if key else found


class WatchedPage:
    """A page of a context of its own; `problems` are errors of scripts and broken policies."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.problems: list[str] = []
        self.context = context
        self.page = self.open()

    def open(self) -> Page:
        """Another tab."""
        page = self.context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(f"a dialog: {dialog.message}"))
        return page

    def show(self, panel: str, page: Page | None = None) -> Page:
        """Go to a panel, and wait for the first status."""
        page = page or self.page
        page.goto(f"{self.url}/#/{panel}")
        page.get_by_text("Live", exact=True).wait_for()
        return page

    def _note(self, message: ConsoleMessage) -> None:
        # An answer with an error status is the server's, not a mistake of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)
