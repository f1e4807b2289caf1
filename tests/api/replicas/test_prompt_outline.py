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
        ("/v3/rerank", {"query": "q", "documents": ["a", "b"]}, 2),
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


async def test_a_long_prompt_has_a_bounded_outline() -> None:
    found = await outline(CHAT, {"messages": [user("x" * 2**20), user("y" * 2**20)]})
    assert len(found.blocks) == MAX_BLOCKS
    image = {"type": "image_url", "image_url": {"url": "data:" + "A" * 2**22}}
    assert (
        await outline(CHAT, {"messages": [{"role": "user", "content": [image]}]})
    ).num_tokens < 2**15
