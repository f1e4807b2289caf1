"""DSPy through LiteLLM."""

import dspy
from report import MODEL, OPENAI_URL, QUESTION, expect, report

model = dspy.LM(
    f"openai/{MODEL}",
    api_base=OPENAI_URL,
    api_key="unused",
    temperature=0,
    max_tokens=200,
    cache=False,
    num_retries=0,
)


def chat() -> None:
    expect(model(QUESTION)[0], "Paris")


report(chat)
