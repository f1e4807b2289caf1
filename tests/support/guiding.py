"""What the tests of constrained answers share: single-byte tokens, random and given answers."""

import asyncio
from functools import partial

import numpy as np

from calculators.guided import GrammarCompiler, GrammarConstraint, answer_grammar
from calculators.output_parsers import OutputFormat
from calculators.text.byte_table import ByteTable
from server.payloads import AnswerFormat, GenerationRequest, TokenizedPrompt


async def compile_answer(
    compiler: GrammarCompiler,
    request: GenerationRequest,
    output_format: OutputFormat | None = None,
    prompt: str = "",
) -> GrammarConstraint:
    """The compiled grammar of the answer to a request."""
    tokenized = TokenizedPrompt(request, (1,), prompt)
    make = partial(answer_grammar, tokenized, output_format or OutputFormat())
    return await compiler.compile(make)


def compile_schema(
    table: ByteTable, vocab_size: int, eos_token_ids: tuple[int, ...], schema: object
) -> GrammarConstraint:
    """The same for a JSON schema, outside of an event loop."""
    compiler = GrammarCompiler(table, vocab_size, eos_token_ids)
    request = GenerationRequest("r", messages=(), answer_format=AnswerFormat("json", schema))
    try:
        return asyncio.run(compile_answer(compiler, request))
    finally:
        compiler.close()


def allowed(constraint: GrammarConstraint) -> list[int]:
    """The tokens that may come next."""
    return np.flatnonzero(~constraint.forbidden_tokens()).tolist()


def accepts(constraint: GrammarConstraint, table: ByteTable, end: int, text: str) -> bool:
    """Whether a text, written in tokens of single bytes, is a whole answer."""
    single = {raw: i for i, raw in enumerate(table.token_bytes) if len(raw) == 1}
    constraint = constraint.fork()
    for byte in text.encode():
        token = single[bytes([byte])]
        if constraint.forbidden_tokens()[token]:
            return False
        constraint.accept(token)
    return not constraint.forbidden_tokens()[end]


def write(constraint: GrammarConstraint, table: ByteTable, end: int, seed: int) -> str:
    """A random answer that ends as soon as it can."""
    constraint = constraint.fork()
    rng = np.random.default_rng(seed)
    tokens: list[int] = []
    while len(tokens) < 2000:
        possible = allowed(constraint)
        if end in possible:
            return table.decode(tokens)
        # Prefer what ends strings and objects.
        short = [i for i in possible if table.lookup(i) in (b'"', b"}", b"]", b":", b",")]
        token = int(rng.choice(short if short and rng.random() < 0.5 else possible))
        tokens.append(token)
        constraint.accept(token)
    raise AssertionError(f"no end after {table.decode(tokens)!r}")
