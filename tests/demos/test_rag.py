"""demos/rag: three bundled models of one server answer from documents."""

import subprocess
import sys
from pathlib import Path

from support.server_process import ROOT, server_process

RAG = ROOT / "demos" / "rag"
ANSWERS = {
    "What is the weather in Brolund?": "It is 7 degrees and foggy in Brolund.",
    "How warm is it in Cairo?": "It is 38 degrees and sunny in Cairo.",
    "What time is it in Brolund?": "It is 03:52 in Brolund.",
    "How late is it in Drumholt?": "It is 20:45 in Drumholt.",
}


def ask(url: str, *arguments: str | Path) -> list[str]:
    command = [sys.executable, RAG / "rag.py", "--url", url, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_questions_are_answered_from_documents(tmp_path: Path) -> None:
    changed = tmp_path / "documents.txt"
    changed.write_text("Brolund is snowy today, with -7 degrees.\nGrass is green.\n")
    with server_process("--config_path", RAG / "config.json") as server:
        lines = ask(server.url)
        others = ask(server.url, "--documents", changed, "What is the weather in Brolund?")
    answers = [line.split(maxsplit=1)[1] for line in lines if line.startswith("answer:")]
    questions = [line.split(maxsplit=1)[1] for line in lines if line.startswith("question:")]
    assert dict(zip(questions, answers, strict=True)) == ANSWERS
    assert "answer:    It is -7 degrees and snowy in Brolund." in others
