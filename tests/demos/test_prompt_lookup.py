"""demos/benchmark/speculation/prompt_lookup.py: every load, with drafts and without."""

from pathlib import Path

import pytest
from speculation import prompt_lookup

from server.engine.config import EngineConfig
from server.engine.engine import LLMEngine
from server.engine.requests import accepted_runs
from server.engine.speculation.measured_steps import MeasuredSteps


@pytest.mark.parametrize("load", prompt_lookup.LOADS)
def test_a_row_compares_drafts_with_none(
    tiny_model: Path, load: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever they cost.
    monkeypatch.setattr(MeasuredSteps, "seconds", lambda *_: 0.03)
    sample = accepted_runs.sample
    engine = LLMEngine(EngineConfig(tiny_model, num_kv_blocks=60, prompt_lookup=True))
    prompts = prompt_lookup.make_prompts(engine, tiny_model, [], 2)
    assert [len(prompt) for prompt in prompts] == [prompt_lookup.PROMPT_TOKENS] * 2
    row = prompt_lookup.measure(engine, load, prompts, max_tokens=30, rounds=2)
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    assert cells[:2] == [load, "2"]
    if load == "copy":
        # Rounds without drafts have none; of the others some tokens come true.
        assert 0 < engine.stats.num_accepted_tokens < engine.stats.num_draft_tokens
        assert float(cells[5]) > 2
    assert accepted_runs.sample is sample
    assert engine.kv.num_used_blocks == 0
    engine.close()
