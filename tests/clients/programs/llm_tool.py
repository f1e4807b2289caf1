"""Simon Willison's `llm`, with the server as a model of its own configuration file."""

import os
import tempfile
from pathlib import Path

from report import MODEL, OPENAI_URL, QUESTION, expect, report

os.environ["LLM_USER_PATH"] = tempfile.mkdtemp()
Path(os.environ["LLM_USER_PATH"], "extra-openai-models.yaml").write_text(
    f"- model_id: here\n  model_name: {MODEL}\n  api_base: {OPENAI_URL}\n"
)

import llm  # noqa: E402 - it reads the variable when it is imported

model = llm.get_model("here")
model.key = "unused"


def chat() -> None:
    expect(model.prompt(QUESTION, stream=False, temperature=0).text(), "Paris")


def stream() -> None:
    expect("".join(model.prompt(QUESTION, temperature=0)), "Paris")


report(chat, stream)
