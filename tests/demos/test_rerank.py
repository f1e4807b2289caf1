"""demos/rerank, on a small reranker."""

import subprocess
import sys
from pathlib import Path

from support.server_process import ROOT, server_process
from support.tiny_rankers import DOCUMENTS, QUERY


def test_lines_of_a_file_are_ranked(rankers: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    lines = [line.strip() for text in DOCUMENTS for line in text.splitlines() if line.strip()]
    file.write_text("\n\n".join(lines), encoding="utf-8")
    model = rankers / "roberta" / "openvino"
    with server_process("--model_name", "ranker", "--model_path", model) as server:
        command = ["--url", server.url, "--model", "ranker", "--top_n", "3", QUERY, file]
        program = ROOT / "demos" / "rerank" / "rank_lines.py"
        printed = subprocess.run(
            [sys.executable, program, *command], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        body = {"model": "ranker", "query": QUERY, "documents": lines, "top_n": 3}
        _, answer = server.post("/v3/rerank", body)
    assert printed == [
        f"{result['relevance_score']:.3f}  {lines[result['index']]}" for result in answer["results"]
    ]
