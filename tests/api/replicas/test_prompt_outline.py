"""What routing sees of a request."""

import json
from typing import Any

import pytest

from server.api.replicas.prompt_outline import MAX_BLOCKS, PromptOutline, outline_of

CHAT = "/v3/chat/completions"
SYSTEM = {"role": "system", "content": "You are short. " * 40}


async def outline(path: str, fields: dict[str, Any], salt: str = "") -> PromptOutline:
    return await outline_of(path, json.dumps({"model": "m", **fields}).encode(), salt)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def test_a_conversation_goes_on() -> None:
    first = await outline(CHAT, {"messages": [SYSTEM, user("a")], "temperature": 1})
    answer = {"role": "assistant", "content": "b"}
    second = await outline(CHAT, {"messages": [SYSTEM, user("a"), answer, user("c")]})
    assert first.turns[-1] in second.turns
    assert second.blocks[: len(first.blocks)] == first.blocks
    assert len(first.blocks) == 4
    assert first.num_tokens > 140


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"cache_salt": "x"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{**SYSTEM, "role": "user"}, user("a")]},
    ],
)
async def test_prompts_that_differ_from_their_beginning_share_nothing(
    change: dict[str, Any],
) -> None:
    fields = {"messages": [SYSTEM, user("a")]}
    first, other = await outline(CHAT, fields), await outline(CHAT, {**fields, **change})
    assert not {*first.blocks, *first.turns[1:]} & {*other.blocks, *other.turns[1:]}


async def test_the_salt_of_a_key_keeps_its_prompts_apart() -> None:
    fields = {"messages": [SYSTEM, user("a")]}
    first, other = await outline(CHAT, fields, "k"), await outline(CHAT, fields, "l")
    assert not {*first.blocks} & {*other.blocks}


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (CHAT, {"messages": [user("a")], "n": 3}, 3),
        ("/v1/completions", {"prompt": ["a", "b"], "n": 2}, 4),
        ("/v1/completions", {"prompt": [1, 2, 3]}, 1),
        ("/v3/embeddings", {"input": ["a", "b", "c"]}, 3),
        ("/v3/embeddings", {"input": [[1, 2], [3]]}, 2),
        ("/v3/embeddings", {"input": ["a" * 100] * 2000}, 2000),
        ("/v2/embed", {"inputs": [{"content": []}] * 3}, 3),
        ("/v3/rerank", {"query": "q", "documents": ["a", "b"]}, 2),
        ("/v3/score", {"text_1": "q", "text_2": ["a", "b", "c"]}, 3),
        ("/v1/score", {"queries": ["q", "r"], "documents": ["a", "b"]}, 2),
        ("/v3/images/generations", {"prompt": "a", "n": 4}, 4),
        ("/v3/images/generations", {"prompt": "a", "num_images_per_prompt": 4}, 4),
        ("/mii/m", {"prompts": ["a", "b"]}, 2),
        ("/mii/m", {"prompts": "a"}, 1),
        ("/v3/my_graph", {"inputs": ["a", "b"], "n": 5}, 1),
        ("/v3/messages", {"messages": [], "n": 5}, 1),
    ],
)
async def test_requests_count_as_their_model_counts_them(
    path: str, fields: dict[str, Any], expected: int
) -> None:
    assert (await outline(path, fields)).num_requests == expected


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"messages": 7, "model": []}'])
async def test_a_body_that_cannot_be_read_is_routed_too(body: bytes) -> None:
    assert (await outline_of(CHAT, body, "")).model == ""


async def test_the_model_of_a_path() -> None:
    assert (await outline_of("/v2/models/m/versions/1/infer", b"\0" * 100, "")).model == "m"
    assert (await outline_of("/v1/models/m:predict", b"{}", "")).model == "m"


async def test_the_model_of_a_path_may_have_slashes() -> None:
    for path in ("/v2/models/org/m/infer", "/v2/models/org/m/versions/1/infer"):
        assert (await outline_of(path, b"\0", "")).model == "org/m"
    assert (await outline_of("/v1/models/org/m/versions/2:predict", b"{}", "")).model == "org/m"
    assert (await outline_of("/v1/models/org/m", b"", "")).model == "org/m"


async def test_a_deployment_is_routed_by_its_name_and_prompt() -> None:
    first = await outline("/mii/org/m", {"model": "other", "prompts": "x" * 300})
    assert first.model == "org/m"
    assert len(first.blocks) == 2
    assert first.blocks[0] == (await outline("/mii/org/m", {"prompts": "x" * 200})).blocks[0]
    assert first.blocks[0] != (await outline("/mii/m", {"prompts": "x" * 200})).blocks[0]


async def test_a_form_names_its_model_and_counts_its_images() -> None:
    end = "\r\n--b\r\nContent-Disposition: form-data; "
    image = 'name="image"; filename="n"\r\nContent-Type: image/png\r\n\r\nname="n"'
    typed = 'name="n"\r\nContent-Type: text/plain\r\n\r\n3'
    parts = ['name="model"\r\n\r\norg/m', image, typed]
    body = (end.lstrip() + end.join(parts) + "\r\n--b--\r\n").encode()
    found = await outline_of("/v3/images/edits", body, "")
    assert (found.model, found.num_requests) == ("org/m", 3)
    found = await outline_of("/v3/audio/transcriptions", body, "")
    assert (found.model, found.num_requests) == ("org/m", 1)


async def test_a_long_prompt_has_a_bounded_outline() -> None:
    found = await outline(CHAT, {"messages": [user("x" * 2**20), user("y" * 2**20)]})
    assert len(found.blocks) == MAX_BLOCKS
    image = {"type": "image_url", "image_url": {"url": "data:" + "A" * 2**22}}
    assert (
        await outline(CHAT, {"messages": [{"role": "user", "content": [image]}]})
    ).num_tokens < 2**15
