"""Search a text file by meaning: print its lines, the most relevant one first.

    python demos/rerank/rank_lines.py --model reranker "stop the server" docs/operations.md

Uses a running server, and nothing but Python's standard library.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen


def rank(
    url: str, model: str, query: str, lines: Sequence[str], top_n: int
) -> list[tuple[float, str]]:
    """Scores and lines from POST /v3/rerank, the best first."""
    body = {"model": model, "query": query, "documents": list(lines), "top_n": top_n}
    request = Request(
        f"{url}/v3/rerank", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request) as response:
        results = json.load(response)["results"]
    return [(result["relevance_score"], lines[result["index"]]) for result in results]


def main() -> None:
    """Read the command line, ask the server, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("query")
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", required=True)
    parser.add_argument("--top_n", type=int, default=5)
    values = parser.parse_args()
    text = values.file.read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for score, line in rank(values.url, values.model, values.query, lines, values.top_n):
        print(f"{score:.3f}  {line}")


if __name__ == "__main__":
    main()
