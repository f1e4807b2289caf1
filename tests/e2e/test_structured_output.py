"""response_format with OpenAI's client against a real server."""

import asyncio
import json
from typing import Annotated, Any, Literal

import pytest
from openai import BadRequestError
from pydantic import BaseModel, Field
from support.server_process import ServerProcess

MODELS = ["tiny_chat", "one_node"]
MESSAGES = [{"role": "user", "content": "Who are you?"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "letters": {"type": "array", "items": {"enum": ["a", "b", "ç"]}, "maxItems": 4},
    },
    "required": ["name", "letters"],
    "additionalProperties": False,
}


class City(BaseModel):
    """What a client may want to know."""

    name: Annotated[str, Field(max_length=20)]
    continent: Literal["Africa", "America", "Asia", "Australia", "Europe"]
    is_capital: bool


def json_schema(schema: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def check(text: str) -> None:
    found = json.loads(text)
    assert list(found) == ["name", "letters"]
    assert set(found["letters"]) <= {"a", "b", "ç"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_an_answer_follows_its_schema(
    server: ServerProcess, model: str, temperature: float
) -> None:
    answer = server.openai().chat.completions.create(
        model=model,
        messages=MESSAGES,
        response_format=json_schema(SCHEMA),
        temperature=temperature,
        n=3,
        max_tokens=300,
    )
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        check(choice.message.content)


def test_a_streamed_answer_does_too(server: ServerProcess) -> None:
    chunks = server.openai().chat.completions.create(
        model="tiny_chat",
        messages=MESSAGES,
        response_format=json_schema(SCHEMA),
        stream=True,
        temperature=1,
    )
    check("".join(chunk.choices[0].delta.content or "" for chunk in chunks))


def test_the_client_parses_a_pydantic_model(server: ServerProcess) -> None:
    answer = server.openai().chat.completions.parse(
        model="tiny_chat",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        response_format=City,
        temperature=0,
        max_tokens=200,
    )
    assert isinstance(answer.choices[0].message.parsed, City)


def test_json_mode_gives_an_object(server: ServerProcess) -> None:
    answer = server.openai().chat.completions.create(
        model="tiny_chat",
        messages=MESSAGES,
        response_format={"type": "json_object"},
        temperature=1,
        seed=4,
        max_tokens=400,
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    assert answer.choices[0].message.content.startswith("{")


def test_text_is_free(server: ServerProcess) -> None:
    asked = {"model": "tiny_chat", "messages": MESSAGES, "temperature": 0}
    client = server.openai()
    free = client.chat.completions.create(**asked)
    text = client.chat.completions.create(**asked, response_format={"type": "text"})
    assert text.choices[0].message.content == free.choices[0].message.content


async def test_many_at_once_beside_free_ones(server: ServerProcess) -> None:
    async with server.async_openai() as client:

        async def ask(**fields: Any) -> str:
            answer = await client.chat.completions.create(
                model="tiny_chat", messages=MESSAGES, **fields
            )
            return answer.choices[0].message.content or ""

        alone = await ask(temperature=0)
        bound = [
            ask(response_format=json_schema(SCHEMA), temperature=i % 3 / 2, seed=i)
            for i in range(24)
        ]
        free = [ask(temperature=0) for _ in range(8)]
        answers = await asyncio.gather(*bound, *free)
    for text in answers[:24]:
        check(text)
    assert answers[24:] == [alone] * 8


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "object", "not": {}}, "no answer can satisfy it"),
        ({"type": "string", "pattern": "("}, "regex parse error"),
        ({"$ref": "#"}, "no answer can satisfy it"),
        ({"enum": []}, "Unsatisfiable"),
        ({"anyOf": [{}] * 3000}, "too many objects"),
        ({"$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(20_000)}}, "too many"),
        ({"type": "integer", "multipleOf": 99999989}, "too many remainders"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_schema_that_cannot_be_followed_is_refused(
    server: ServerProcess, schema: Any, message: str
) -> None:
    for stream in (False, True):
        with server.openai() as client, pytest.raises(BadRequestError) as error:
            client.chat.completions.create(
                model="tiny_chat",
                messages=MESSAGES,
                response_format=json_schema(schema),
                stream=stream,
            )
        assert error.value.param == "response_format"
        assert message in str(error.value)


def test_a_huge_enumeration_works(server: ServerProcess) -> None:
    values = [f"choice number {i} of many" for i in range(10_000)]
    answer = server.openai().chat.completions.create(
        model="tiny_chat",
        messages=MESSAGES,
        response_format=json_schema({"enum": values}),
        temperature=1,
    )
    assert json.loads(answer.choices[0].message.content) in values
