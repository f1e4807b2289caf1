"""tokenize, detokenize and tokenizer_info on a real socket, with a tokenizer of letters."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.fakes import RAW_GRAPH, tokenizing_graph, write_repository
from support.serving import Server, running_server

from server.models.config import load_config
from server.models.model_manager import ModelManager
from server.protocol import tokenization


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    graphs = {"letters": tokenizing_graph(), "raw": RAW_GRAPH}
    manager = ModelManager(load_config(write_repository(tmp_path, graphs)))
    await manager.load_all()
    async with running_server(manager) as running:
        yield running


def letters(**fields: Any) -> dict[str, Any]:
    return {"model": "letters", **fields}


ENCODED = [1, 97, 98]


@pytest.mark.parametrize("prefix", ["", "/v3", "/v1", "/v3/v1"])
async def test_a_text(server: Server, prefix: str) -> None:
    found = await server.post(f"{prefix}/tokenize", letters(text="ab"))
    assert found == (200, {"tokens": ENCODED})


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"text": ""}, [1]),
        ({"text": "", "add_special_tokens": False}, []),
        ({"text": ["ab"]}, [ENCODED]),
        ({"text": ["ab", "", "c"]}, [ENCODED, [1], [1, 99]]),
        ({"text": "ab", "add_special_tokens": True}, ENCODED),
        ({"text": "ab", "add_special_tokens": False}, [97, 98]),
        ({"text": "abc", "max_length": 3}, ENCODED),
        ({"text": "abc", "max_length": 1, "add_special_tokens": False}, [97]),
        ({"text": "ab", "max_length": 9}, ENCODED),
        ({"text": "a", "max_length": 4, "pad_to_max_length": True}, [1, 97, 0, 0]),
        (
            {"text": ["a", "abcd"], "max_length": 3, "pad_to_max_length": True},
            [[1, 97, 0], ENCODED],
        ),
        (
            {"text": "a", "max_length": 3, "pad_to_max_length": True, "padding_side": "left"},
            [0, 1, 97],
        ),
        ({"text": "a", "padding_side": "left"}, [1, 97]),
        ({"text": "é漢", "add_special_tokens": False}, [233, 28450]),
    ],
)
async def test_model_servers_form(server: Server, fields: Any, tokens: Any) -> None:
    assert await server.post("/v3/tokenize", letters(**fields)) == (200, {"tokens": tokens})


async def test_vllms_form(server: Server) -> None:
    expected = {"count": 3, "max_model_len": 77, "tokens": ENCODED, "token_strs": None}
    assert await server.post("/tokenize", letters(prompt="ab")) == (200, expected)
    fields = letters(prompt="ab", return_token_strs=True, add_special_tokens=False)
    _, answer = await server.post("/tokenize", fields)
    assert (answer["count"], answer["token_strs"]) == (2, ["a", "b"])


async def test_a_conversation(server: Server) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    tool = {"type": "function", "function": {"name": "f"}}
    fields = letters(
        messages=[message],
        tools=[tool],
        add_generation_prompt=False,
        chat_template_kwargs={"enable_thinking": True},
    )
    _, answer = await server.post("/tokenize", fields)
    assert answer["tokens"][0] != 1
    _, text = await server.post("/detokenize", letters(tokens=answer["tokens"]))
    assert json.loads(text["prompt"]) == [
        [{"role": "user", "content": "hi"}],
        [tool],
        {"add_generation_prompt": False, "enable_thinking": True},
    ]
    _, answer = await server.post("/tokenize", {**fields, "add_special_tokens": True})
    assert answer["tokens"][0] == 1


@pytest.mark.parametrize("prefix", ["", "/v3", "/v1", "/v3/v1"])
async def test_detokenize(server: Server, prefix: str) -> None:
    found = await server.post(f"{prefix}/detokenize", letters(tokens=ENCODED))
    assert found == (200, {"prompt": "^ab"})
    assert await server.post(f"{prefix}/detokenize", letters(tokens=[])) == (200, {"prompt": ""})


INFO = {
    "model": "letters",
    "tokenizer_class": "Letters",
    "vocab_size": 1000,
    "max_model_len": 77,
    "bos_token": "^",
    "chat_template": "a template",
}


async def test_tokenizer_info(server: Server) -> None:
    assert await server.post("/tokenizer_info", letters()) == (200, INFO)
    async with server.http.get("/tokenizer_info?model=letters") as response:
        assert await response.json() == INFO


async def test_the_limit_is_listed_with_the_models(server: Server) -> None:
    async with server.http.get("/v3/models") as response:
        models = (await response.json())["data"]
    assert {model["id"]: model["max_model_len"] for model in models} == {"letters": 77, "raw": None}


async def test_without_model_the_only_one_is_used(tmp_path: Path, server: Server) -> None:
    status, answer = await server.post("/tokenize", {"text": "ab"})
    assert (status, answer["error"]["message"]) == (400, "model is missing; models: letters, raw")
    async with server.http.get("/tokenizer_info") as response:
        assert response.status == 400
    config = write_repository(tmp_path / "one", {"letters": tokenizing_graph()})
    manager = ModelManager(load_config(config))
    await manager.load_all()
    async with running_server(manager) as lonely:
        assert await lonely.post("/tokenize", {"text": "ab"}) == (200, {"tokens": ENCODED})
        async with lonely.http.get("/tokenizer_info") as response:
            assert await response.json() == INFO


@pytest.mark.parametrize(
    ("fields", "param", "problem"),
    [
        ({}, "text", "text field is required, or one of prompt, messages"),
        ({"text": None}, "text", "text field is required"),
        ({"text": "a", "prompt": "a"}, "prompt", "found text and prompt"),
        ({"text": 5}, "text", "text should be string or array of strings, found the number 5"),
        ({"text": []}, "text", "text array should not be empty"),
        ({"text": ["a", 5]}, "text", "text must be homogeneous: text[1] must be a string, found"),
        ({"text": [["a"]]}, "text", "text[0] must be a string, found a list"),
        ({"text": ["a"] * 1025}, "text", "text has 1025 texts; at most 1024"),
        ({"text": "a", "max_length": 0}, "max_length", "max_length should be greater than 0"),
        ({"text": "a", "max_length": 1.5}, "max_length", "should be unsigned integer, found"),
        ({"text": "a", "max_length": 10**7}, "max_length", "exceeds the allowed limit of 1000000"),
        ({"text": "a", "padding_side": "top"}, "padding_side", "should be either left or right"),
        ({"text": "a", "padding_side": 1}, "padding_side", "should be either left or right"),
        ({"text": "a", "pad_to_max_length": "yes"}, "pad_to_max_length", "should be boolean"),
        ({"text": "a", "add_special_tokens": "no"}, "add_special_tokens", "should be boolean"),
        ({"text": "a", "pad_to_max_length": True}, "pad_to_max_length", "needs max_length"),
        (
            {"text": ["a"] * 11, "pad_to_max_length": True, "max_length": 10**5},
            "max_length",
            "11 texts of 100000 tokens are too much",
        ),
        ({"text": "a", "return_token_strs": True}, "return_token_strs", "together with text"),
        ({"prompt": "a", "max_length": 1}, "max_length", "does not go together with prompt"),
        ({"prompt": ["a"]}, "prompt", "prompt must be a string"),
        ({"prompt": "a", "tools": []}, "tools", "does not go together with prompt"),
        ({"messages": []}, "messages", "messages is empty"),
        ({"messages": [5]}, "messages", "messages[0] must be an object"),
        ({"messages": "a"}, "messages", "must be a list"),
        ({"prompt": "a", "continue_final_message": True}, "continue_final_message", "together"),
        ({"texts": "a"}, "text", "text field is required"),
        ({"text": "a", "model": "letter"}, "model", "did you mean 'letters'?"),
        ({"text": "a", "model": "raw"}, "model", "model 'raw' has no tokenizer"),
    ],
)
async def test_refused_tokenize_requests(
    server: Server, fields: Any, param: str, problem: str
) -> None:
    status, answer = await server.post("/v3/tokenize", letters(**fields))
    assert status == (404 if fields.get("model") == "letter" else 400)
    error = answer["error"]
    assert problem in error["message"].replace("not supported; it can only be", "only")
    assert error["param"] == param


async def test_a_text_that_is_too_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization, "MAX_CHARACTERS", 5)
    assert (await server.post("/v3/tokenize", letters(text=["abc", "de"])))[0] == 200
    for fields in ({"text": ["abc", "def"]}, {"prompt": "abcdef"}):
        status, answer = await server.post("/v3/tokenize", letters(**fields))
        assert status == 400
        assert "has 6 characters; at most 5 are possible" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "tokens is missing"),
        ({"tokens": None}, "tokens is missing"),
        ({"tokens": 5}, "tokens must be a list"),
        ({"tokens": [1, "a"]}, "tokens.1 must be an integer"),
        ({"tokens": [1, -1]}, "tokens.1 must be at least 0"),
        ({"tokens": [True]}, "tokens.0 must be an integer"),
        ({"tokens": [1.0]}, "tokens.0 must be an integer"),
        ({"tokens": [2**31]}, "tokens.0 must be"),
        ({"tokens": [[1]]}, "tokens.0 must be an integer, found a list"),
        ({"tokens": [999, 1000]}, "tokens has the id 1000; this model's go from 0 to 999"),
        ({"tokens": [1] * 1_000_001}, "tokens must have at most 1000000 items"),
    ],
)
async def test_refused_detokenize_requests(server: Server, fields: Any, problem: str) -> None:
    status, answer = await server.post("/detokenize", letters(**fields))
    assert status == 400
    assert problem in answer["error"]["message"]


async def test_wrong_methods(server: Server) -> None:
    async with server.http.get("/v3/tokenize") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    async with server.http.delete("/tokenizer_info") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD,POST")
