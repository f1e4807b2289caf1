"""Random answers to JSON schemas, judged by jsonschema."""

import json
from typing import Any

import jsonschema
import numpy as np
from support.guiding import allowed

from calculators.guided import GrammarConstraint
from calculators.text.byte_table import ByteTable

# As far as jsonschema and this server check the same.
FORMATS = {"date", "time", "date-time", "email", "ipv4", "ipv6", "uuid"}
CLOSING = (b'"', b"}", b"]", b":", b",", b"@")
LONGEST = 500


def random_answer(
    constraint: GrammarConstraint, table: ByteTable, end: int, rng: np.random.Generator
) -> str | None:
    """An answer of random tokens; None if it does not come to an end soon."""
    constraint = constraint.fork()
    tokens: list[int] = []
    while len(tokens) < LONGEST:
        possible = allowed(constraint)
        assert possible, f"a dead end after {table.decode(tokens)!r}"
        if end in possible and (len(possible) == 2 or rng.random() < 0.7):
            return table.decode(tokens)
        possible = [token for token in possible if table.lookup(token)]
        closing = [token for token in possible if table.lookup(token) in CLOSING]
        share = 0.5 if len(tokens) < LONGEST / 4 else 0.95
        token = int(rng.choice(closing if closing and rng.random() < share else possible))
        tokens.append(token)
        constraint.accept(token)
    return None


def check_answer(schema: Any, text: str) -> None:
    """Fail for an answer that does not satisfy the schema, or has a key twice."""

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(pairs) == len(dict(pairs)), f"a key comes twice in {text}"
        return dict(pairs)

    value = json.loads(text, object_pairs_hook=collect)
    validator = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    checker = jsonschema.FormatChecker(())
    known = jsonschema.Draft202012Validator.FORMAT_CHECKER.checkers
    checker.checkers = {name: known[name] for name in FORMATS & known.keys()}
    problem = next(validator(schema, format_checker=checker).iter_errors(value), None)
    assert problem is None, f"{text}: {problem.message} ({problem.json_path})"
