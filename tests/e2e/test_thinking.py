"""Thinking budgets of a real model: its chat template begins the thinking."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.e2e_graphs import ONE_NODE_GRAPH, write_model
from support.server_process import ServerProcess, server_process

QUESTION: Any = [{"role": "user", "content": "Tell me a story about a fox."}]
TEMPLATE = """\
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}{% endif -%}
"""
BUDGET = 12


@pytest.fixture(scope="module")
def server(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("repository")
    options = 'reasoning_parser: "qwen3", chat_template: "think.jinja", num_kv_blocks: 64'
    write_model(folder, "thinker", ONE_NODE_GRAPH.format(models_path=chat_model, options=options))
    (folder / "thinker" / "think.jinja").write_text(TEMPLATE)
    with server_process("--config_path", folder / "config.json") as process:
        yield process


def ask(server: ServerProcess, extra: Any = None, **fields: Any) -> Any:
    fields = {"messages": QUESTION, "temperature": 0, "max_tokens": 60, **fields}
    chat = server.openai().chat.completions
    return chat.create(model="thinker", extra_body=extra or {}, **fields)


def num_thought(server: ServerProcess, choice: Any) -> int:
    """The tokens before the closing tag; the choice has log probabilities."""
    _, tag = server.post("/tokenize", {"prompt": "</think>", "add_special_tokens": False})
    tokens = [found.token for found in choice.logprobs.content]
    num_until = next(n for n in range(len(tokens)) if "</think>" in "".join(tokens[:n]))
    return num_until - int(tag["count"])


def test_the_budget_ends_the_thinking(server: ServerProcess) -> None:
    unlimited = ask(server).choices[0].message
    assert not unlimited.content
    (choice,) = ask(server, {"thinking_token_budget": BUDGET}, logprobs=True).choices
    assert num_thought(server, choice) == BUDGET
    limited = choice.message
    assert unlimited.reasoning_content.startswith(limited.reasoning_content)
    assert limited.content
    assert "think>" not in limited.content + limited.reasoning_content


def test_a_stream_says_the_same(server: ServerProcess) -> None:
    extra = {"thinking_token_budget": BUDGET}
    whole = ask(server, extra).choices[0].message
    deltas = [chunk.choices[0].delta for chunk in ask(server, extra, stream=True)]
    assert "".join(d.content or "" for d in deltas) == whole.content
    parts = [getattr(d, "reasoning_content", None) or "" for d in deltas]
    assert "".join(parts) == whole.reasoning_content


def test_every_choice_has_the_budget(server: ServerProcess) -> None:
    extra = {"thinking_token_budget": BUDGET}
    choices = ask(server, extra, n=3, temperature=1.0, seed=1, logprobs=True).choices
    assert [num_thought(server, choice) for choice in choices] == [BUDGET] * 3
    assert len({choice.message.reasoning_content for choice in choices}) > 1


def test_the_answer_behind_it_follows_its_schema(server: ServerProcess) -> None:
    schema = {
        "type": "object",
        "properties": {"legs": {"enum": [2, 4]}},
        "required": ["legs"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    extra = {"thinking_token_budget": BUDGET}
    message = ask(server, extra, response_format=form).choices[0].message
    assert json.loads(message.content)["legs"] in (2, 4)
    assert message.reasoning_content


def test_no_effort_is_no_thinking(server: ServerProcess) -> None:
    message = ask(server, reasoning_effort="none").choices[0].message
    assert message.content
    assert not getattr(message, "reasoning_content", None)
    message = ask(server, {"thinking": {"type": "disabled"}}).choices[0].message
    assert not getattr(message, "reasoning_content", None)
    hidden = ask(server, {"include_reasoning": False, "thinking_token_budget": 3})
    assert not getattr(hidden.choices[0].message, "reasoning_content", None)


def test_a_response_has_budgets_too(server: ServerProcess) -> None:
    response = server.openai().responses.create(
        model="thinker",
        input="Tell me a story about a fox.",
        max_output_tokens=60,
        temperature=0,
        include=["reasoning.encrypted_content"],
        extra_body={"thinking_token_budget": BUDGET},
    )
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens <= BUDGET + 1


def test_the_status_says_what_the_template_knows(server: ServerProcess) -> None:
    _, config = server.get("/v1/config")
    (version,) = config["thinker"]["model_version_status"]
    (tokenizer,) = (node for node in version["nodes"].values() if "chat_template" in node)
    found = tokenizer["chat_template"]["default"]
    assert found["switches"] == {"enable_thinking": [False, True]}
    assert found["tool_calls"] is False
