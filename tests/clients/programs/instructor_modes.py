"""Instructor: structured answers by a tool call, and by a JSON schema."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from report import MODEL, OPENAI_URL, SCHEMA_QUESTION, expect, report


class Country(BaseModel):
    """A country."""

    country: str
    capital: str


def ask(mode: instructor.Mode) -> Country:
    client = instructor.from_openai(OpenAI(base_url=OPENAI_URL, api_key="unused"), mode=mode)
    return client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": SCHEMA_QUESTION}],
        response_model=Country,
        temperature=0,
        max_retries=0,
    )


def tools() -> None:
    # The bundled model is too small to fill in a tool that it does not know.
    assert isinstance(ask(instructor.Mode.TOOLS), Country)


def schema() -> None:
    expect(ask(instructor.Mode.JSON_SCHEMA).capital, "Paris")


report(tools, schema)
