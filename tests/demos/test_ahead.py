"""demos/benchmark/ahead.py: as many prepared steps as unprepared ones, and the table."""

from pathlib import Path

import ahead

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine


def test_half_of_the_steps_are_prepared(tiny_model: Path) -> None:
    engine = LLMEngine(EngineConfig(tiny_model, cache_size=1))
    num_free = engine.kv.num_free_blocks
    plain, prepared = ahead.measure(engine, num_sequences=3, num_rounds=4)
    assert len(plain) == len(prepared) == 4
    assert all(step > other > 0 for step, other in plain + prepared)
    # When a round starts with the kind that ended the last one, the step in between counts as well.
    num_of_a_kind = 4 * ahead.NUM_STEPS
    assert num_of_a_kind <= engine.stats.prepared_steps <= num_of_a_kind + 4
    assert not engine.has_work
    assert engine.kv.num_free_blocks == num_free
    engine.close()


def test_a_row_has_the_ratios_of_rounds() -> None:
    row = ahead.render_row(8, [(10.0, 2.0), (20.0, 4.0)], [(9.0, 1.0), (20.0, 3.0)])
    assert row == "| 8 | 15.00 | 0.950 (0.925 - 0.975) | 3.00 | 2.00 |"
