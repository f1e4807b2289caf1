"""What tests use of Playwright; without it the tests that import this are skipped."""

import pytest

_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; it comes with the extra `test`"
)
Browser = _api.Browser
BrowserContext = _api.BrowserContext
ConsoleMessage = _api.ConsoleMessage
Page = _api.Page
expect = _api.expect
sync_playwright = _api.sync_playwright

__all__ = ["Browser", "BrowserContext", "ConsoleMessage", "Page", "expect", "sync_playwright"]
