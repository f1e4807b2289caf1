"""Requests that are valid or nearly so, and as large as a client can make them."""

import asyncio
import json
from typing import Any

from hostile.target import Target

__all__ = ["CASES"]

CHAT = "/v3/chat/completions"
COMPLETIONS = "/v3/completions"
EMOJI = "\U0001f98a\U0001f680"


def chat(content: Any = "Tell me a story.", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    message = {"role": "user", "content": content}
    return {"model": "tiny_chat", "messages": [message], "max_tokens": 8, **fields}


def completion(prompt: Any, **fields: Any) -> dict[str, Any]:
    """A completion request."""
    return {"model": "tiny_chat", "prompt": prompt, "max_tokens": 4, **fields}


async def many_choices(target: Target) -> None:
    many = {"n": 128, "max_tokens": 400, "ignore_eos": True, "temperature": 1, "seed": 1}
    await target.post(CHAT, chat(**many, logprobs=True, top_logprobs=20))
    await target.post(CHAT, chat(**many, logprobs=True, top_logprobs=20, stream=True))
    await target.post(COMPLETIONS, completion("Once", **many, logprobs=5))


async def emoji_60_mb(target: Target) -> None:
    body = json.dumps(chat(EMOJI * (60_000_000 // 8)), ensure_ascii=False).encode()
    await target.post(CHAT, body)
    await asyncio.gather(*[target.post(CHAT, body) for _ in range(3)])


async def letters_60_mb(target: Target) -> None:
    for text in ("a" * 60_000_000, "word " * 12_000_000, "\u0301" * 30_000_000):
        await target.post(COMPLETIONS, json.dumps(completion(text), ensure_ascii=False).encode())


async def empty_lists(target: Target) -> None:
    lists = b"[" + b"[]," * 990_000 + b"[]]"
    await target.post(CHAT, b'{"model": "tiny_chat", "messages": ' + lists + b"}")
    await target.post(COMPLETIONS, b'{"model": "tiny_chat", "prompt": ' + lists + b"}")
    await target.post("/v3/embeddings", b'{"model": "embedder", "input": ' + lists + b"}")
    await target.post("/v2/models/half/infer", b'{"inputs": ' + lists + b"}")


async def many_prompts(target: Target) -> None:
    await target.post(COMPLETIONS, completion(["Once upon a time " * 20] * 1024))
    await target.post(COMPLETIONS, completion([[5] * 1000] * 1024, max_tokens=1))


async def large_tokenize(target: Target) -> None:
    text = EMOJI * 2_000_000
    await target.post("/tokenize", {"model": "tiny_chat", "prompt": text})
    body = {"model": "tiny_chat", "tokens": [5] * 3_900_000}
    await target.post("/detokenize", json.dumps(body, separators=(",", ":")).encode())


async def deep_nesting(target: Target) -> None:
    for left, right in ((b"[", b"]"), (b'{"a":', b"}")):
        for depth in (99, 1000, 100_000, 900_000):
            nested = left * depth + b"1" + right * depth
            for field in (b"messages", b"tools", b"response_format", b"chat_template_kwargs"):
                await target.post(CHAT, b'{"model": "tiny_chat", "' + field + b'":' + nested + b"}")


async def prompt_logprobs(target: Target) -> None:
    prompts = [[5 + i % 50, *([7, 9] * 950)] for i in range(99)]
    await target.post(COMPLETIONS, completion(prompts, max_tokens=1, prompt_logprobs=5))
    await target.post(COMPLETIONS, completion(prompts, max_tokens=1, echo=True, logprobs=5))


async def beam_search(target: Target) -> None:
    fields = {"use_beam_search": True, "temperature": 0, "max_tokens": 60, "ignore_eos": True}
    for number in (19, 128):
        beams = {"best_of": number, "n": number, **fields}
        await target.post(COMPLETIONS, completion("Once upon", **beams))
    await target.post(COMPLETIONS, completion("Once upon", best_of=10**9, n=1, **fields))


async def constrained(target: Target) -> None:
    schema = {"type": "array", "items": {"type": "string", "pattern": "[a-z]{1,40}"}}
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    await target.post(CHAT, chat(n=128, max_tokens=60, temperature=1, response_format=format_))


async def schema_bombs(target: Target) -> None:
    patterns = ["(a+)+$", "(a|aa)*" * 200, "a{1,1000}" * 200, "(?:" * 500 + "a" + ")" * 500]
    schemas: list[Any] = [{"type": "string", "pattern": pattern} for pattern in patterns]
    schemas += [{"$ref": "#"}, {"$ref": "file:///etc/passwd"}, {"enum": list(range(200_000))}]
    schemas += [{"type": "array", "minItems": 10**9}, {"type": "string", "minLength": 10**8}]
    schemas += [{"anyOf": [{"const": "a" * i} for i in range(2000)]}]
    schemas += [{"properties": {f"p{i}": {"type": "object"} for i in range(20_000)}}]
    nested: Any = {"type": "string"}
    for _ in range(90):
        nested = {"anyOf": [nested, nested]}
    for schema in schemas:
        format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        await target.post(CHAT, chat(response_format=format_))
    grammars = ['start: "a"* ' * 1000, "start: start start", 'start: ("a" | "aa")~1..100000']
    for grammar in grammars:
        await target.post(CHAT, chat(structured_outputs={"grammar": grammar}))
    for pattern in patterns:
        await target.post(CHAT, chat(structured_outputs={"regex": pattern}))


async def many_parts(target: Target) -> None:
    call = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    tools = [{**call, "function": {**call["function"], "name": f"f{i}"}} for i in range(5000)]
    await target.post(CHAT, chat(tools=tools))
    await target.post(CHAT, chat(tools=tools, tool_choice="required"))
    await target.post(CHAT, chat([{"type": "text", "text": "a"}] * 100_000))
    await target.post(CHAT, chat(messages=[{"role": "user", "content": "a"}] * 100_000))
    await target.post(CHAT, chat(stop=["x" * 10_000] * 4))
    await target.post(CHAT, chat(stop=[f"x{i}" for i in range(100_000)]))
    await target.post(CHAT, chat(logit_bias={str(i): 1 for i in range(300_000)}))
    await target.post(CHAT, chat(metadata={f"k{i}": "v" for i in range(100_000)}))


async def encoders(target: Target) -> None:
    text = "A long text about nothing. " * 40
    await target.post("/v3/embeddings", {"model": "embedder", "input": [text] * 4096})
    await target.post("/v3/embeddings", {"model": "embedder", "input": ["a"] * 100_000})
    await target.post("/v3/embeddings", {"model": "embedder", "input": "a " * 5_000_000})
    rank = {"model": "reranker", "query": "cows"}
    await target.post("/v3/rerank", {**rank, "documents": [text] * 2048})
    await target.post("/v3/rerank", {**rank, "documents": ["a"] * 100_000})
    await target.post("/v3/rerank", {**rank, "query": "q " * 3_000_000, "documents": ["a"] * 100})


async def classic(target: Target) -> None:
    tensor = {"name": "x", "shape": [4_000_000], "datatype": "FP32"}
    numbers = json.dumps([1.5] * 3_900_000)
    await target.post(
        "/v2/models/half/infer",
        b'{"inputs": [' + json.dumps(tensor).encode()[:-1] + f', "data": {numbers}}}]}}'.encode(),
    )
    for shape in ([10**18], [-1], [2**63], [0], [1] * 10_000, [1e999], [10**9, 10**9, 0]):
        inputs = [{**tensor, "shape": shape, "data": [1.0]}]
        await target.post("/v2/models/half/infer", {"inputs": inputs})
    rows = {"instances": [1.5] * 3_900_000}
    await target.post("/v1/models/half:predict", rows)


async def two_thousand_waiting(target: Target) -> None:
    body = chat(max_tokens=30)
    await asyncio.gather(*[target.post(CHAT, body) for _ in range(2000)])


CASES = {
    "n 128, 400 tokens, 20 log probabilities": many_choices,
    "prompts of 60 MB of emoji, 1 and 3 at once": emoji_60_mb,
    "prompts of 60 MB of letters, words, accents": letters_60_mb,
    "990,000 empty lists": empty_lists,
    "1,024 prompts in a body": many_prompts,
    "/tokenize of 4M emoji, /detokenize of 3.9M ids": large_tokenize,
    "deep nesting": deep_nesting,
    "99 prompts of 2k tokens with log probabilities": prompt_logprobs,
    "19 and 128 beams": beam_search,
    "n 128 constrained by a schema": constrained,
    "schemas, patterns and grammars that explode": schema_bombs,
    "100,000 messages, parts, stop strings; 5,000 tools": many_parts,
    "100,000 texts to embed and rank": encoders,
    "tensors of millions of numbers, impossible shapes": classic,
    "2,000 requests at once": two_thousand_waiting,
}
