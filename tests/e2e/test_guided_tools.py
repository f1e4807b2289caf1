"""Tool calls that must be made, and that follow their schemas, with OpenAI's client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError
from support.e2e_graphs import ONE_NODE_GRAPH, add_to_config, write_model
from support.server_process import ServerProcess, server_process

HELLO: Any = [{"role": "user", "content": "Hello!"}]
PARAMETERS: Any = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 16},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "unit": {"enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}


def tool(name: str, parameters: Any = PARAMETERS) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("get_forecast"), tool("add_alarm")]
NAMED: Any = {"type": "function", "function": {"name": "add_alarm"}}
MODELS = ["plain", "guided", "exported"]
# A name before JSON, tags around values, Python, messages; others have JSON in tags.
FAMILIES = ["kimi_k2", "qwen3coder", "pythonic", "gptoss"]


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The bundled model with guided calls, without, and with no parser; one cannot be guided."""
    folder = tmp_path_factory.mktemp("repository")
    guided = "enable_tool_guided_generation: true, "
    off = 'tool_parser: "none", '
    for name, options in (("plain", ""), ("guided", guided), ("off", off)):
        graph = ONE_NODE_GRAPH.format(models_path=chat_model, options=f"{options}num_kv_blocks: 99")
        write_model(folder, name, graph)
    (folder / "exported").symlink_to(chat_model)
    add_to_config(folder, "exported")
    for family in FAMILIES:
        parsers = f'tool_parser: "{family}", '
        if family == "gptoss":
            parsers += 'reasoning_parser: "gptoss", '
        graph = ONE_NODE_GRAPH.format(models_path=chat_model, options=f"{parsers}num_kv_blocks: 99")
        write_model(folder, family, graph)
    bad = ONE_NODE_GRAPH.format(models_path=chat_model, options=guided + off)
    write_model(folder, "impossible", bad)
    with server_process("--config_path", folder / "config.json") as process:
        yield process


def ask(server: ServerProcess, model: str, **fields: Any) -> Any:
    asked = {"messages": HELLO, "tools": TOOLS, "temperature": 0, "max_tokens": 300, **fields}
    with server.openai() as client:
        answer = client.chat.completions.create(model=model, **asked)
        return list(answer) if fields.get("stream") else answer


def check(call: Any) -> None:
    arguments = json.loads(call.function.arguments)
    assert list(arguments) == ["city", "days", "unit"]
    assert 1 <= arguments["days"] <= 14
    assert arguments["unit"] in ("celsius", "fahrenheit")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_call_is_required(server: ServerProcess, model: str, temperature: float) -> None:
    answer = ask(server, model, tool_choice="required", temperature=temperature, seed=1, n=3)
    for choice in answer.choices:
        assert choice.finish_reason in ("tool_calls", "length")
        assert choice.message.content is None
        calls = choice.message.tool_calls
        check(calls[0])
        assert {call.function.name for call in calls} <= {"get_forecast", "add_alarm"}


@pytest.mark.parametrize("model", MODELS)
def test_a_named_tool_is_called_once(server: ServerProcess, model: str) -> None:
    (choice,) = ask(server, model, tool_choice=NAMED, temperature=1, seed=2).choices
    (call,) = choice.message.tool_calls
    assert call.function.name == "add_alarm"
    assert choice.finish_reason == "tool_calls"
    check(call)


@pytest.mark.parametrize("tool_choice", ["required", NAMED], ids=str)
def test_streamed_calls(server: ServerProcess, tool_choice: Any) -> None:
    chunks = ask(server, "plain", tool_choice=tool_choice, parallel_tool_calls=False, stream=True)
    choices = [chunk.choices[0] for chunk in chunks]
    deltas = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert deltas[0].id
    assert deltas[0].function.name in ("get_forecast", "add_alarm")
    arguments = json.loads("".join(delta.function.arguments for delta in deltas))
    assert list(arguments) == ["city", "days", "unit"]
    assert len(deltas) > 2, "arguments come in pieces"
    assert "".join(choice.delta.content or "" for choice in choices) == ""
    assert choices[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("family", FAMILIES)
def test_openais_client_puts_a_call_of_each_kind_together(
    server: ServerProcess, family: str
) -> None:
    parameters = {**PARAMETERS, "properties": {**PARAMETERS["properties"]}}
    parameters["properties"]["city"] = {"enum": ["Paris", "Rome, Italy"]}
    fields: Any = {"messages": HELLO, "tools": [tool("get_forecast", parameters)], "seed": 1}
    with (
        server.openai() as client,
        client.chat.completions.stream(
            model=family, tool_choice="required", parallel_tool_calls=False, **fields
        ) as stream,
    ):
        deltas = [
            call
            for event in stream
            if event.type == "chunk"
            for choice in event.chunk.choices
            for call in choice.delta.tool_calls or ()
        ]
        (choice,) = stream.get_final_completion().choices
    (call,) = choice.message.tool_calls
    check(call)
    assert {delta.index for delta in deltas} == {0}
    assert [delta.id for delta in deltas] == [call.id] + [None] * (len(deltas) - 1)
    assert [delta.function.name for delta in deltas[1:]] == [None] * (len(deltas) - 1)
    assert "".join(d.function.arguments or "" for d in deltas) == call.function.arguments
    assert not choice.message.content


def test_the_model_decides_and_its_calls_follow_the_schema(server: ServerProcess) -> None:
    question: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    days = {"type": "object", "properties": {"days": {"enum": [3]}}, "required": ["days"]}
    tools = [tool("get_weather", {**days, "additionalProperties": False})]
    (choice,) = ask(server, "guided", messages=question, tools=tools).choices
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments) == {"days": 3}
    (choice,) = ask(server, "plain", messages=question, tools=tools).choices
    (call,) = choice.message.tool_calls
    assert json.loads(call.function.arguments) != {"days": 3}


@pytest.mark.parametrize("model", ["plain", "guided"])
def test_text_stays_free_where_no_call_is_made(server: ServerProcess, model: str) -> None:
    free = ask(server, "off").choices[0].message.content
    for fields in ({}, {"parallel_tool_calls": False}):
        assert ask(server, model, **fields).choices[0].message.content == free


def test_one_call_at_the_most(server: ServerProcess) -> None:
    for seed in range(3):
        fields = {"tool_choice": "required", "parallel_tool_calls": False, "temperature": 2}
        (choice,) = ask(server, "plain", seed=seed, **fields).choices
        assert len(choice.message.tool_calls) == 1
        check(choice.message.tool_calls[0])


def test_responses_have_it_too(server: ServerProcess) -> None:
    flat = [{"type": "function", **each["function"]} for each in TOOLS]
    with server.openai() as client:
        response = client.responses.create(
            model="plain", input="Hello!", tools=flat, tool_choice="required",
            parallel_tool_calls=False, temperature=0,
        )  # fmt: skip
        (call,) = [item for item in response.output if item.type == "function_call"]
        assert list(json.loads(call.arguments)) == ["city", "days", "unit"]
        text: Any = {"format": {"type": "json_schema", "name": "n", "schema": PARAMETERS}}
        response = client.responses.create(model="plain", input="Hello!", text=text, temperature=0)
        assert list(json.loads(response.output_text)) == ["city", "days", "unit"]


BAD_SCHEMA = {"type": "object", "properties": {"a": {"not": {"minimum": 5}}}}


@pytest.mark.parametrize(
    ("model", "fields", "param", "message"),
    [
        ("off", {"tool_choice": "required"}, "tool_choice", "its tool parser is none"),
        ("off", {"tool_choice": NAMED}, "tool_choice", "its tool parser is none"),
        ("off", {"parallel_tool_calls": False}, "parallel_tool_calls", "cannot be constrained"),
        ("plain", {"tool_choice": "required", "tools": []}, "tool_choice", "there are no tools"),
        (
            "plain",
            {"tool_choice": {"type": "function", "function": {"name": "add_alarms"}}},
            "tool_choice",
            "names 'add_alarms', which is no tool; did you mean 'add_alarm'",
        ),
        (
            "guided",
            {"tools": [tool("f", BAD_SCHEMA)]},
            "tools",
            "tools: the parameters of 'f': Unimplemented keys",
        ),
        (
            "plain",
            {"tools": [tool("f"), tool("g", BAD_SCHEMA)], "tool_choice": "required"},
            "tools",
            "the parameters of 'g'",
        ),
    ],
)
def test_what_is_not_possible_is_refused(
    server: ServerProcess, model: str, fields: Any, param: str, message: str
) -> None:
    asked = {"model": model, "messages": HELLO, "tools": TOOLS, "temperature": 0, **fields}
    status, answer = server.post("/v3/chat/completions", asked)
    assert status == 400
    assert answer["error"]["param"] == param
    assert message in answer["error"]["message"]


def test_a_family_without_a_grammar_cannot_be_guided(server: ServerProcess) -> None:
    _, config = server.get("/v1/config")
    (status,) = config["impossible"]["model_version_status"]
    assert "enable_tool_guided_generation is not possible" in status["reason"]
    assert config["guided"]["model_version_status"][0]["state"] == "AVAILABLE"


def test_bad_request_is_the_clients_own_error(server: ServerProcess) -> None:
    with pytest.raises(BadRequestError, match="its tool parser is none"):
        ask(server, "off", tool_choice="required")
