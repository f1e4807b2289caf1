"""Answers that follow a grammar are the same with drafts, whether it allows these or not."""

import pytest
from support.engine_helpers import run_to_end, start, tokens_of
from support.forced_drafts import Answers, force, mixed, right, wrong
from support.greedy_requests import MakeEngine, Prompts, params
from support.guiding import compile_schema

from calculators.guided import GrammarConstraint
from calculators.text.byte_table import load_byte_table
from server.engine.engine import LLMEngine

SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["fox", "crow", "Füchsin"]},
        "ages": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3},
    },
    "required": ["kind", "ages"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def constraint(model_f32: object) -> GrammarConstraint:
    return compile_schema(load_byte_table(model_f32), 2048, (0, 2), SCHEMA)


def answers_of(
    engine: LLMEngine, prompts: Prompts, constraint: GrammarConstraint, **fields: object
) -> Answers:
    wanted = params(60, ignore_eos=False, **fields)
    requests = start(engine, prompts, wanted, constraint=constraint)
    outputs = run_to_end(engine)
    return {
        (tuple(request.prompt_token_ids.tolist()), index): tokens_of(outputs, request, index)
        for request in requests
        for index in range(wanted.n)
    }


@pytest.mark.parametrize(
    "fields",
    [{}, {"temperature": 1.2, "seed": 3, "n": 2}, {"repetition_penalty": 1.3, "logprobs": 1}],
    ids=str,
)
def test_answers_follow_their_grammar_as_without_drafts(
    make_engine: MakeEngine,
    prompts: Prompts,
    constraint: GrammarConstraint,
    fields: dict[str, object],
) -> None:
    plain = answers_of(make_engine(), prompts[3:6], constraint, **fields)
    for guess in (right(plain, 6), wrong(plain, 4), mixed(plain)):
        engine = make_engine(prompt_lookup=True)
        force(engine, guess)
        assert answers_of(engine, prompts[3:6], constraint, **fields) == plain
        assert engine.stats.num_draft_tokens > 0
