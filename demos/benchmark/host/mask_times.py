"""Time the masks of constrained answers, from an ordinary JSON schema to the worst ones found.

Random tokens that the grammar allows are written. Prints a Markdown table of CPU microseconds for a
token: its mask and the list made of it, both beside inference, and its acceptance between two.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from host_share import SCHEMA, compile_schema
from random_model import load_vocab_size, prepare_ir

from calculators.guided import GrammarConstraint
from server.engine.token_mask import TokenMask

NUM_ANSWERS = 4

SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "objects in an array": SCHEMA,
    "an object that contains itself": {
        "type": "object",
        "properties": {"a": {"$ref": "#"}, "b": {"type": "array", "items": {"$ref": "#"}}},
    },
    "800 optional properties": {
        "type": "object",
        "properties": {f"property_{i}": {"type": "string"} for i in range(800)},
        "additionalProperties": False,
    },
    "an enum of 2,000 texts": {
        "type": "array",
        "minItems": 100,
        "items": {"enum": [f"value {i * 7919 % 100_003}" for i in range(2000)]},
    },
    "a pattern that counts to 60": {
        "type": "array",
        "minItems": 100,
        "items": {"type": "string", "pattern": "^([a-z]{1,40} ){20,60}[a-z]+$"},
    },
}

Times = list[tuple[float, float, float]]
"""CPU microseconds of a mask, its list and its token's acceptance, for each token."""


def measure(constraint: GrammarConstraint, end_tokens: set[int], num_tokens: int) -> Times:
    """Write some answers of at most so many tokens."""
    found = []
    for seed in range(NUM_ANSWERS):
        one, rng = constraint.fork(), np.random.default_rng(seed)
        for _ in range(num_tokens):
            started = thread_time()
            forbidden = one.forbidden_tokens()
            computed = thread_time()
            TokenMask(forbidden)
            listed = thread_time()
            token = int(rng.choice(np.flatnonzero(~forbidden)))
            if token in end_tokens:
                break
            before = thread_time()
            one.accept(token)
            times = (computed - started, listed - computed, thread_time() - before)
            found.append((1e6 * times[0], 1e6 * times[1], 1e6 * times[2]))
    # The first mask was computed with the grammar.
    return found[1:]


def render_row(name: str, times: Times) -> str:
    """One row of the table: median, and 95th percentile and maximum in brackets."""
    cells = []
    for column in zip(*times, strict=True):
        middle, high, most = np.percentile(column, (50, 95, 100))
        cells.append(f"{middle:.0f} ({high:.0f}, {most:.0f})")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure every schema, and print each row at once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of an exported model")
    parser.add_argument("--build", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--tokens", type=int, default=200, help="of each answer")
    args = parser.parse_args()
    model = args.model or prepare_ir("wide", "fp16", args.build)
    vocab_size = load_vocab_size(model)
    ends = {vocab_size - 1}
    print("| schema | mask, us | list, us | acceptance, us |\n| --- | --- | --- | --- |")
    for name, schema in SCHEMAS.items():
        constraint = compile_schema(model, vocab_size, ends, schema)
        print(render_row(name, measure(constraint, ends, args.tokens)), flush=True)


if __name__ == "__main__":
    main()
