"""Starts the server, waits until it is ready, shows one streamed answer, and goes on serving."""

import argparse
import signal
import subprocess
import sys
import urllib.error

from chat import ask

QUESTION = "What is the capital of France?"


def wait_until_ready(server: subprocess.Popen[str]) -> str:
    """Return the server's URL when its models are loaded; leave with its exit code if it ends."""
    assert server.stdout is not None
    line = server.stdout.readline()
    print(line, end="", flush=True)
    if not line:
        sys.exit(server.wait())
    return line.removeprefix("Serving on ").split()[0]


def main() -> None:
    """Run the demo until the server is stopped, with Ctrl-C for example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config_path", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rest_port", default="8000")
    args = parser.parse_args()
    command = [sys.executable, "-m", "server", "--config_path", args.config_path]
    command += ["--rest_port", args.rest_port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # A terminal sends Ctrl-C to the server as well, which a second signal would stop at once.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    url = wait_until_ready(server)
    print(f"\n> {QUESTION}")
    try:
        ask(url, args.model, [{"role": "user", "content": QUESTION}])
    except urllib.error.URLError as error:
        server.terminate()
        sys.exit(f"no answer: {error.reason}")
    client = f"demos/chat/chat.py --model {args.model} --url {url}"
    print(
        "\nThe server goes on. From another terminal:\n"
        f'  .venv/bin/python {client} "Count from 3 to 9."\n'
        "Ctrl-C stops it.",
        flush=True,
    )
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
