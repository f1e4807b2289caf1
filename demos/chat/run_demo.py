"""Serves the bundled model, shows one streamed answer, and goes on serving."""

import argparse
import signal
import subprocess
import sys
import urllib.error

from chat import ask

from server.models.bundled import find_bundled_model

MODEL = "tiny_chat"
QUESTION = "What is the capital of France?"


def wait_until_ready(server: subprocess.Popen[str]) -> str:
    """Return the server's URL once its model is loaded; exit with its code if it ends."""
    assert server.stdout is not None
    line = server.stdout.readline()
    print(line, end="", flush=True)
    if not line:
        sys.exit(server.wait())
    return line.removeprefix("Serving on ").split()[0]


def main() -> None:
    """Run the demo until the server is stopped, with Ctrl-C for example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rest_port", default="8000")
    args = parser.parse_args()
    command = [sys.executable, "-m", "server", "--rest_port", args.rest_port]
    command += ["--model_name", MODEL, "--model_path", str(find_bundled_model(MODEL))]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # A terminal sends Ctrl-C to the server as well; a second signal would stop it at once.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    url = wait_until_ready(server)
    print(f"\n> {QUESTION}")
    try:
        ask(url, MODEL, [{"role": "user", "content": QUESTION}])
    except urllib.error.URLError as error:
        server.terminate()
        sys.exit(f"no answer: {error.reason}")
    client = f"demos/chat/chat.py --model {MODEL} --url {url}"
    print(
        "\nThe server keeps running. From another terminal:\n"
        f'  .venv/bin/python {client} "Count from 3 to 9."\n'
        "Ctrl-C stops it.",
        flush=True,
    )
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
