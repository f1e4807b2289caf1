"""Serves the bundled model, shows one streamed answer, and keeps serving."""

import argparse
import signal
import subprocess
import sys

SERVER = [sys.executable, "-m", "server"]
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
    command = [*SERVER, "tiny_chat", "--rest_port", args.rest_port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    # A terminal sends Ctrl-C to the server as well; a second signal would stop it at once.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    url = wait_until_ready(server)
    print(f"\n> {QUESTION}", flush=True)
    chat = [*SERVER, "chat", "--url", url]
    answer = subprocess.run([*chat, "--temperature", "0", "-q", QUESTION], check=False)
    if answer.returncode:
        server.terminate()
        sys.exit(answer.returncode)
    print(
        "\nThe server keeps running. Chat with it from another terminal:\n"
        f"  .venv/bin/server chat --url {url}\n"
        "Ctrl-C stops it.",
        flush=True,
    )
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
