"""A chat client in the terminal, with nothing but the standard library.

`python demos/chat/chat.py --model tiny_chat "What is the capital of France?"` prints one answer as
it comes; without a question it goes on asking until an empty line.
"""

import argparse
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

Message = dict[str, str]


def stream_chat(url: str, model: str, messages: list[Message]) -> Iterator[str]:
    """Yield the pieces of the answer; raises urllib.error.URLError when there is none."""
    body = {"model": model, "messages": messages, "stream": True, "temperature": 0}
    request = urllib.request.Request(
        f"{url}/v3/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            data = line.decode().removeprefix("data: ").strip()
            if not data or data == "[DONE]":
                continue
            event = json.loads(data)
            if "error" in event:
                raise urllib.error.URLError(event["error"]["message"])
            for choice in event["choices"]:
                yield choice["delta"].get("content") or ""


def ask(url: str, model: str, messages: list[Message]) -> None:
    """Print the answer to the conversation so far, and add it to the conversation."""
    answer = ""
    for piece in stream_chat(url, model, messages):
        print(piece, end="", flush=True)
        answer += piece
    print()
    messages.append({"role": "assistant", "content": answer})


def main() -> None:
    """Ask one question, or hold a conversation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="tiny_chat")
    args = parser.parse_args()
    messages: list[Message] = []
    question = args.question or input("> ")
    while question:
        messages.append({"role": "user", "content": question})
        ask(args.url, args.model, messages)
        question = "" if args.question else input("> ")


if __name__ == "__main__":
    main()
