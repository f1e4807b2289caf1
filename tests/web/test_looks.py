"""How the page looks at three widths, in both themes: overflow, contrast, names of controls."""

from typing import Any

import pytest
from support.server_process import ServerProcess
from support.web.browser import Page, expect
from support.web.looks import find_low_contrast, find_overflow, find_unnamed_controls
from support.web.pages import LONG_NAME, PANELS, WatchedPage


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_every_panel(look: Any, server: ServerProcess, width: int, theme: str) -> None:
    watched: WatchedPage = look(
        server, viewport={"width": width, "height": 800}, color_scheme=theme
    )
    problems = {}
    for panel in (*PANELS, "model/tiny_chat", "model/broken"):
        page = watched.show(panel)
        use(page, panel)
        found = [*find_overflow(page), *find_low_contrast(page), *find_unnamed_controls(page)]
        if found:
            problems[panel] = found
    assert problems == {}


def use(page: Page, panel: str) -> None:
    """Show what comes only after some use."""
    if panel == "chat":
        if page.get_by_label("Model", exact=True).is_hidden():
            page.get_by_text("Model and parameters").click()
        page.get_by_label("Model", exact=True).select_option("echo")
        page.get_by_label("Message").fill(f"`code` {'long' * 100} !invalid")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".message .error")).to_be_visible()
    elif panel == "tryout":
        for button in page.get_by_role("button", name="Run").all():
            button.click()
        expect(page.get_by_role("table")).to_have_count(2)
    elif panel == "system":
        page.get_by_role("button", name="Check now").click()
        expect(page.get_by_role("button", name="Check again")).to_be_visible()
    for summary in page.locator("main summary:visible").all():
        summary.click()


@pytest.mark.parametrize("width", [360, 1440])
def test_30_models(look: Any, many: ServerProcess, width: int) -> None:
    watched: WatchedPage = look(many, viewport={"width": width, "height": 800})
    for panel in ("models", f"model/{LONG_NAME}", f"chat/{LONG_NAME}"):
        page = watched.show(panel)
        assert [*find_overflow(page), *find_low_contrast(page)] == []
