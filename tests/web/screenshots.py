"""Takes the pictures of docs/web.md: `PYTHONPATH=tests:. python -m web.screenshots`."""

import json
import tempfile
import threading
from pathlib import Path
from typing import Any

from support.server_process import ROOT, ServerProcess, server_process
from support.web.browser import Browser, Page
from support.web.pages import BUNDLED, add_models, environment, running_browser

IMAGES = ROOT / "docs" / "images"
NUM_CLIENTS = 4
# Long enough for a line in the charts.
TRAFFIC_S = 60.0
QUESTION = "Count to five."


def main() -> None:
    """Serve, ask, and look."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"model_config_list": []}))
        names = ("tiny_chat", "tiny_embedder", "tiny_reranker")
        models = {name: BUNDLED / name for name in names}
        add_models(config, {**models, "llama-3.1-8b-instruct": Path("/models/llama-3.1-8b")})
        with server_process("--config_path", config, env=environment()) as server:
            ended = threading.Event()
            clients = [
                threading.Thread(target=send_requests, args=(server, number, ended))
                for number in range(NUM_CLIENTS)
            ]
            for client in clients:
                client.start()
            try:
                ended.wait(TRAFFIC_S)
                with running_browser() as browser:
                    take_pictures(browser, server.url)
            finally:
                ended.set()
                for client in clients:
                    client.join()


def send_requests(server: ServerProcess, number: int, ended: threading.Event) -> None:
    """Ask again and again, with pauses of different lengths."""
    prompt = f"Write a story about {number} cats. " * (number + 1)
    body: dict[str, Any] = {"model": "tiny_chat", "ignore_eos": True, "max_tokens": 300}
    while not ended.wait(0.2 + 0.3 * number):
        server.post("/v3/chat/completions", {**body, "messages": [user(prompt)]})
        server.post("/v3/embeddings", {"model": "tiny_embedder", "input": [prompt] * 4})


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def take_pictures(browser: Browser, url: str) -> None:
    """The pictures by their names, each in a context of its own."""
    shots = (
        ("web-models", "models", "light", (1200, 420)),
        ("web-graph", "model/tiny_chat", "light", (1200, 1140)),
        ("web-load", "load", "dark", (1200, 620)),
        ("web-chat", "chat", "dark", (1200, 780)),
        ("web-phone", "model/tiny_chat", "light", (390, 840)),
    )
    for name, panel, theme, (width, height) in shots:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            locale="en-GB",
        )
        page = context.new_page()
        page.goto(f"{url}/#/{panel}")
        page.get_by_text("Live", exact=True).wait_for()
        # Rates are the difference between two answers.
        page.wait_for_timeout(5000)
        if panel == "chat":
            have_conversation(page)
        page.screenshot(path=IMAGES / f"{name}.png")
        context.close()


def have_conversation(page: Page) -> None:
    page.get_by_label("System prompt").fill("You are a helpful assistant.")
    page.get_by_label("Temperature").fill("0")
    for text in (QUESTION, "What is the capital of France?"):
        page.get_by_label("Message").fill(text)
        page.get_by_role("button", name="Send").click()
        page.locator(".message.answer").last.get_by_text("tokens in").wait_for()
    page.get_by_text("This request as curl and Python").click()
    page.wait_for_timeout(300)


if __name__ == "__main__":
    main()
