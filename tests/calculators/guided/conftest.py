"""A compiler for the tokens of the bundled model."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.guiding import compile_answer

from calculators.guided import GrammarCompiler, GrammarConstraint
from calculators.text.byte_table import ByteTable, load_byte_table
from server.payloads import AnswerFormat, GenerationRequest

END_TOKENS = (0, 2)


@pytest.fixture(scope="session")
def table(model_f32: Path) -> ByteTable:
    return load_byte_table(model_f32)


@pytest.fixture
def compiler(table: ByteTable) -> Iterator[GrammarCompiler]:
    # The model has more tokens than its tokenizer, as models with padded embeddings do.
    compiler = GrammarCompiler(table, len(table.token_bytes) + 5, END_TOKENS)
    yield compiler
    compiler.close()


@pytest.fixture
def compile_schema(compiler: GrammarCompiler) -> Callable[[Any], Any]:
    async def compile_schema(schema: Any) -> GrammarConstraint:
        return await compile_answer(
            compiler,
            GenerationRequest("r", messages=(), answer_format=AnswerFormat("json", schema)),
        )

    return compile_schema
