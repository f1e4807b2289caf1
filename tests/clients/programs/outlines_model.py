"""Outlines over OpenAI's client, and with vLLM's fields for guided answers."""

import json
from typing import Literal

import outlines
from openai import OpenAI
from pydantic import BaseModel
from report import MODEL, OPENAI_URL, QUESTION, SCHEMA_QUESTION, expect, report

client = OpenAI(base_url=OPENAI_URL, api_key="unused", max_retries=0)


class Country(BaseModel):
    country: str
    capital: str


def chat() -> None:
    expect(outlines.from_openai(client, MODEL)(QUESTION, temperature=0), "Paris")


def stream() -> None:
    chunks = outlines.from_openai(client, MODEL).stream(QUESTION, temperature=0)
    expect("".join(chunks), "Paris")


def schema() -> None:
    answer = outlines.from_openai(client, MODEL)(SCHEMA_QUESTION, Country, temperature=0)
    expect(json.loads(answer)["capital"], "Paris")


def guided() -> None:
    model = outlines.from_vllm(client, MODEL)
    answer = model("Is Paris in France?", Literal["yes", "no"], temperature=0, max_tokens=5)
    assert answer in {"yes", "no"}, answer


report(chat, stream, schema, guided)
