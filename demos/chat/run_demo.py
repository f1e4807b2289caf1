"""Starts the server, waits until it is ready, shows one streamed answer, and goes on serving."""

import argparse
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from chat import ask

QUESTION = "What is the capital of France?"


def wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    """Return when every model is loaded; leave with the server's exit code if it ends."""
    while server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready"):
                return
        except OSError:
            time.sleep(0.2)
    sys.exit(server.returncode)


def main() -> None:
    """Run the demo until the server is stopped, with Ctrl-C for example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config_path", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rest_port", default="8000")
    args = parser.parse_args()
    url = f"http://127.0.0.1:{args.rest_port}"
    command = [sys.executable, "-m", "server", "--config_path", args.config_path]
    server = subprocess.Popen([*command, "--rest_port", args.rest_port])
    # A terminal sends Ctrl-C to the server as well, which a second signal would stop at once.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    wait_until_ready(server, url)
    print(f"\n> {QUESTION}")
    try:
        ask(url, args.model, [{"role": "user", "content": QUESTION}])
    except urllib.error.URLError as error:
        server.terminate()
        sys.exit(f"no answer: {error.reason}")
    client = f"demos/chat/chat.py --model {args.model} --url {url}"
    print(
        f"\nServing on {url}. From another terminal:\n"
        f'  .venv/bin/python {client} "Count from 3 to 9."\n'
        "Ctrl-C stops the server."
    )
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
