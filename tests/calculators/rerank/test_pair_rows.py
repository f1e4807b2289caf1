import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from calculators.rerank.pair_rows import PairEncoder, cut_longest
from calculators.rerank.rerank_template import RerankTemplate
from calculators.rerank.token_template import Piece, TokenTemplate
from server.errors import ContextLengthError, InvalidRequestError
from server.payloads import RerankRequest

BERT = TokenTemplate((Piece((101,)), Piece("A"), Piece((102,)), Piece("B", 1), Piece((102,), 1)))


def encode_many(texts: Sequence[str], *, first: int | None = None) -> list[list[int]]:
    """Each word is the number of a token."""
    return [[int(word) for word in text.split()] for text in texts]


def numbers(count: int) -> str:
    return " ".join(map(str, range(1, count + 1)))


PAIRS = PairEncoder(encode_many, BERT, None, max_length=10, max_chunks=4)


def rows(request: RerankRequest, encoder: PairEncoder = PAIRS) -> list[list[int]]:
    return [list(row.token_ids) for row in encoder.plan(request).rows]


def test_documents_are_cut_into_chunks_without_overlap() -> None:
    plan = PAIRS.plan(RerankRequest(pairs=(("7 8", numbers(12)), ("9", ""))))
    assert plan.owners == [0, 0, 0, 1]
    assert [list(row.token_ids) for row in plan.rows] == [
        [101, 7, 8, 102, 1, 2, 3, 4, 5, 102],
        [101, 7, 8, 102, 6, 7, 8, 9, 10, 102],
        [101, 7, 8, 102, 11, 12, 102],
        [101, 9, 102, 102],
    ]
    assert plan.rows[2].token_type_ids == (0, 0, 0, 0, 1, 1, 1)


def test_a_document_that_just_fits_is_one_row() -> None:
    assert len(rows(RerankRequest(pairs=(("7 8", numbers(5)),)))) == 1
    assert len(rows(RerankRequest(pairs=(("7 8", numbers(6)),)))) == 2


def test_a_query_is_cut_to_half_of_the_positions() -> None:
    found = rows(RerankRequest(pairs=((numbers(50), numbers(2)),)))
    assert found == [[101, 1, 2, 3, 4, 5, 102, 1, 2, 102]]


def test_documents_and_chunks_can_be_limited() -> None:
    request = RerankRequest(pairs=(("7", numbers(100)),), max_chunks_per_doc=2)
    assert len(rows(request)) == 2
    assert rows(replace(request, max_tokens_per_doc=3)) == [[101, 7, 102, 1, 2, 3, 102]]


def test_too_many_rows_are_refused_in_model_servers_words() -> None:
    with pytest.raises(InvalidRequestError, match="Number of documents exceeds max_allowed_chunks"):
        PAIRS.plan(RerankRequest(pairs=(("1", "2"),) * 5))
    with pytest.raises(
        InvalidRequestError, match="exceeding max_allowed_chunks after chunking limit: 4; actual: 5"
    ):
        PAIRS.plan(RerankRequest(pairs=(("1", numbers(6 * 5)),)))
    # Half of 9 positions for the query, 4 for special tokens: nothing is left.
    wide = TokenTemplate((Piece((101,) * 5), Piece("A"), Piece("B")))
    with pytest.raises(InvalidRequestError, match="no space left for chunks"):
        PairEncoder(encode_many, wide, None, 9, 4).plan(RerankRequest(pairs=((numbers(9), "1"),)))


def test_a_huge_text_is_refused_before_it_is_encoded() -> None:
    with pytest.raises(InvalidRequestError, match="66000000 characters"):
        PAIRS.plan(RerankRequest(pairs=((" ", " " * 65_999_999),)))


def test_truncation_is_that_of_transformers(exporters: None) -> None:
    from support.tiny_rankers import make_tokenizer

    hf = make_tokenizer("bert")
    chance = random.Random(0)
    for _ in range(100):
        sizes = chance.randrange(12), chance.randrange(1, 12)
        limit = chance.randrange(3, 20)
        encoded = hf([("fox " * sizes[0], "fox " * sizes[1])], truncation=True, max_length=limit)[
            "token_type_ids"
        ][0]
        kept = cut_longest(*sizes, limit - 3)
        assert encoded == [0] * (kept[0] + 2) + [1] * (kept[1] + 1), (sizes, limit)


PROMPT = RerankTemplate("1 2 {{ messages[-2].content }} 3 {{ messages[-1].content }} 4", {}, "")
PROMPTS = PairEncoder(encode_many, BERT, PROMPT, max_length=10, max_chunks=4)


def test_prompts_are_cut_before_their_end() -> None:
    request = RerankRequest(pairs=(("7", numbers(5)),))
    assert rows(request, PROMPTS) == [[1, 2, 7, 3, 1, 2, 3, 4, 5, 4]]
    limited = replace(request, max_tokens_per_doc=2)
    assert rows(limited, PROMPTS) == [[1, 2, 7, 3, 1, 2, 4]]
    long = RerankRequest(pairs=(("7", numbers(50)),))
    with pytest.raises(ContextLengthError, match="of 55 tokens exceeds the model context of 10"):
        rows(long, PROMPTS)
    assert rows(replace(long, truncate_prompt_tokens=-1), PROMPTS) == rows(request, PROMPTS)
    assert rows(replace(long, truncate_prompt_tokens=6), PROMPTS) == [[1, 2, 7, 3, 1, 4]]


def test_instructions_need_a_template() -> None:
    with pytest.raises(InvalidRequestError, match="no template that shows one"):
        rows(RerankRequest(pairs=(("7", "1"),), instruction="5"))
