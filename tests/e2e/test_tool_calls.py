"""Tool calls of the bundled model, with OpenAI's client against a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.e2e_graphs import ONE_NODE_GRAPH, add_to_config, write_model
from support.server_process import ServerProcess, server_process

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
MODELS = ["detected", "named", "exported"]


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The bundled model as exported, and in Model Server's form with and without parsers."""
    folder = tmp_path_factory.mktemp("repository")
    names = 'tool_parser: "hermes3", reasoning_parser: "qwen3", '
    off = 'tool_parser: "none", reasoning_parser: "none", '
    for name, options in [("detected", ""), ("named", names), ("off", off)]:
        graph = ONE_NODE_GRAPH.format(models_path=chat_model, options=f"{options}num_kv_blocks: 64")
        write_model(folder, name, graph)
    (folder / "exported").symlink_to(chat_model)
    add_to_config(folder, "exported")
    with server_process("--config_path", folder / "config.json") as process:
        yield process


def ask(server: ServerProcess, model: str, **fields: Any) -> Any:
    fields = {"messages": QUESTION, "tools": TOOLS, "temperature": 0, **fields}
    return server.openai().chat.completions.create(model=model, **fields)


def put_together(chunks: Any, index: int = 0) -> tuple[str, list[dict[str, str]], list[str]]:
    """Content, calls and finish reasons of one choice of a stream."""
    content, calls, reasons = "", [], []
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    for choice in choices:
        content += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            if call.id:
                assert call.type == "function"
                calls.append({"name": call.function.name, "arguments": ""})
            calls[call.index]["arguments"] += call.function.arguments
        reasons += [choice.finish_reason] if choice.finish_reason else []
    assert choices[0].delta.role == "assistant"
    return content, calls, reasons


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_call(server: ServerProcess, model: str) -> None:
    choice = ask(server, model).choices[0]
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert call.id
    assert choice.message.content is None
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("model", MODELS)
def test_a_streamed_tool_call(server: ServerProcess, model: str) -> None:
    num_pieces = []
    for _ in range(5):
        chunks = list(ask(server, model, stream=True))
        content, calls, reasons = put_together(chunks)
        assert (content, reasons) == ("", ["tool_calls"])
        assert [call["name"] for call in calls] == ["get_weather"]
        assert json.loads(calls[0]["arguments"]) == {"city": "Paris"}
        num_pieces.append(sum(bool(chunk.choices[0].delta.tool_calls) for chunk in chunks))
    # A reader that falls behind finds several pieces in one, but not every time.
    assert max(num_pieces) > 3


def test_the_answer_to_a_tool_s_result(server: ServerProcess) -> None:
    message = ask(server, "detected").choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "17 degrees"}
    answer = ask(server, "detected", messages=[*QUESTION, message, result]).choices[0]
    assert "17" in answer.message.content
    assert answer.message.tool_calls is None
    assert answer.finish_reason == "stop"


@pytest.mark.parametrize(
    ("model", "fields"), [("off", {}), ("named", {"tools": []}), ("named", {"tool_choice": "none"})]
)
def test_where_no_tools_may_be_called_all_is_content(
    server: ServerProcess, model: str, fields: dict[str, Any]
) -> None:
    choice = ask(server, model, **fields).choices[0]
    assert choice.message.tool_calls is None
    assert choice.message.content
    assert choice.finish_reason == "stop"


def test_a_call_that_max_tokens_cuts_off(server: ServerProcess) -> None:
    whole = ask(server, "named").choices[0].message.tool_calls[0].function
    seen = set()
    for max_tokens in range(1, 40):
        choice = ask(server, "named", max_tokens=max_tokens).choices[0]
        streamed = put_together(ask(server, "named", max_tokens=max_tokens, stream=True))
        calls = choice.message.tool_calls or []
        assert [call.function.name for call in calls] in ([], ["get_weather"])
        assert all(whole.arguments.startswith(call.function.arguments) for call in calls)
        assert streamed[0] == (choice.message.content or "")
        assert [call["arguments"] for call in streamed[1]] == [c.function.arguments for c in calls]
        seen.add((bool(choice.message.content), len(calls), choice.finish_reason))
        if choice.finish_reason == "tool_calls":
            break
    assert seen == {(True, 0, "length"), (False, 1, "length"), (False, 1, "tool_calls")}


def test_every_choice_has_calls_of_its_own(server: ServerProcess) -> None:
    chunks = list(ask(server, "named", n=3, stream=True, logprobs=True))
    for index in range(3):
        content, calls, reasons = put_together(chunks, index)
        assert (content, reasons) == ("", ["tool_calls"])
        assert json.loads(calls[0]["arguments"]) == {"city": "Paris"}
    tokens = [
        token.token
        for chunk in chunks
        if chunk.choices[0].index == 0 and chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert "Paris" in "".join(tokens)


def test_completions_have_the_text_as_it_is(server: ServerProcess) -> None:
    prompt = (
        "<|im_start|>user\nWhat is 1 + 1?<|im_end|>\n<|im_start|>assistant\n"
        '<tool_call>\n{"name": "calc", "arguments": {"a": 1}}\n</tool_call>'
    )
    answer = server.openai().completions.create(
        model="named", prompt=prompt, echo=True, max_tokens=1, temperature=0
    )
    assert answer.choices[0].text.startswith(prompt)


def test_the_stream_helper_of_the_client(server: ServerProcess) -> None:
    client = server.openai()
    asked = {"model": "exported", "messages": QUESTION, "tools": TOOLS, "temperature": 0}
    with client.chat.completions.stream(**asked) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "get_weather",
        {"city": "Paris"},
    )
    assert message.content is None


def test_a_stop_string_in_a_call_ends_it(server: ServerProcess) -> None:
    for stream in (False, True):
        answer = ask(server, "named", stop=["Par"], stream=stream)
        if stream:
            content, calls, reasons = put_together(answer)
            assert (content, reasons) == ("", ["stop"])
            assert calls == [{"name": "get_weather", "arguments": '{"city": "'}]
        else:
            function = answer.choices[0].message.tool_calls[0].function
            assert (function.name, function.arguments) == ("get_weather", '{"city": "')
            assert answer.choices[0].finish_reason == "stop"
