"""LiteLLM's proxy in front of the server, with the configuration of demos/deploy.

The program is `litellm` of the environment LITELLM_PROXY, or else of this one.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from openai import APIStatusError, OpenAI
from report import (
    COUNTRY_SCHEMA,
    QUESTION,
    SCHEMA_QUESTION,
    URL,
    WEATHER,
    WEATHER_QUESTION,
    WEATHER_SCHEMA,
    expect,
    report,
)

CONFIGURATION = Path(__file__).parents[3] / "demos" / "deploy" / "litellm.yaml"
BASES = ("http://127.0.0.1:8000", "http://127.0.0.1:8001")
FULL = {"message": "the queue is full", "type": "service_unavailable", "code": "queue_full"}
CHAT, EMBEDDER = "chat", "embedder"
START_TIMEOUT_S = 150
KEY = f"sk-{secrets.token_hex(32)}"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}


def program() -> str:
    """Where `litellm` is."""
    folder = os.environ.get("LITELLM_PROXY") or Path(sys.executable).parent
    found = shutil.which("litellm", path=str(folder))
    assert found is not None, f"there is no litellm in {folder}"
    return found


class FullServer(BaseHTTPRequestHandler):
    """Answers as a server does whose queue is full."""

    num_asked = 0

    def do_POST(self) -> None:
        FullServer.num_asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"error": FULL}).encode()
        self.send_response(503)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def full_server() -> Iterator[str]:
    """The address of a server that is full."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FullServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configuration(folder: Path, *urls: str) -> Path:
    """The file of demos/deploy, with these addresses of its two servers."""
    text = CONFIGURATION.read_text()
    for base, url in zip(BASES, urls, strict=True):
        assert base in text, base
        text = text.replace(base, url)
    file = folder / "litellm.yaml"
    file.write_text(text)
    return file


@contextmanager
def running_proxy(*urls: str) -> Iterator[str]:
    """The address of a proxy in front of these servers, once it answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program(), "--config", configuration(Path(folder), *urls), "--port", str(port)]
        command += ["--host", "127.0.0.1", "--telemetry", "False"]
        environment = {**os.environ, "SERVER_API_KEY": "unused", "LITELLM_MASTER_KEY": KEY}
        log = Path(folder) / "log"
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        try:
            url = f"http://127.0.0.1:{port}"
            end = time.monotonic() + START_TIMEOUT_S
            while not is_alive(url):
                assert process.poll() is None, log.read_text()[-2000:]
                assert time.monotonic() < end, log.read_text()[-2000:]
                time.sleep(0.5)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/liveliness", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


with full_server() as full, running_proxy(URL, full) as proxy:
    client = OpenAI(base_url=f"{proxy}/v1", api_key=KEY, max_retries=0)

    def ask(messages: list, **settings: object) -> object:
        settings = {"model": CHAT, "temperature": 0, **settings}
        return client.chat.completions.create(messages=messages, **settings)

    def chat() -> None:
        answer = ask([{"role": "user", "content": QUESTION}])
        expect(answer.choices[0].message.content, "Paris")

    def stream() -> None:
        options = {"include_usage": True}
        messages = [{"role": "user", "content": QUESTION}]
        chunks = list(ask(messages, stream=True, stream_options=options))
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert len([text for text in texts if text]) > 1, "it came in one piece"
        expect("".join(texts), "Paris")
        assert chunks[-1].usage.completion_tokens > 1

    def tools() -> None:
        messages = [{"role": "user", "content": WEATHER_QUESTION}]
        message = ask(messages, tools=[TOOL]).choices[0].message
        (call,) = message.tool_calls
        expect(call.function.arguments, "Paris")
        messages += [message, {"role": "tool", "tool_call_id": call.id, "content": WEATHER}]
        expect(ask(messages, tools=[TOOL]).choices[0].message.content, "21")

    def schema() -> None:
        schema = {"name": "country", "schema": COUNTRY_SCHEMA, "strict": True}
        answer = ask(
            [{"role": "user", "content": SCHEMA_QUESTION}],
            response_format={"type": "json_schema", "json_schema": schema},
        )
        expect(json.loads(answer.choices[0].message.content)["capital"], "Paris")

    def guided() -> None:
        messages = [{"role": "user", "content": QUESTION}]
        answer = ask(messages, extra_body={"structured_outputs": {"choice": ["Rome", "Paris"]}})
        assert answer.choices[0].message.content in ("Rome", "Paris"), answer

    def embeddings() -> None:
        data = client.embeddings.create(model=EMBEDDER, input=["a cow", "a cat"]).data
        assert [each.index for each in data] == [0, 1]
        assert len(data[0].embedding) == len(data[1].embedding) > 1

    def failover() -> None:
        # At once, so that each server has something to do.
        with ThreadPoolExecutor(8) as threads:
            for answer in [threads.submit(chat) for _ in range(8)]:
                answer.result()
        assert FullServer.num_asked, "the server that is full was never asked"

    def models() -> None:
        assert {model.id for model in client.models.list()} == {CHAT, EMBEDDER}

    def errors() -> None:
        refusal = None
        try:
            ask([{"role": "user", "content": QUESTION}], top_p=7)
        except APIStatusError as error:
            refusal = error
        assert refusal is not None, "there was no error"
        assert refusal.status_code == 400, refusal
        expect(refusal.message, "top_p")

    report(chat, stream, tools, schema, guided, embeddings, failover, models, errors)
