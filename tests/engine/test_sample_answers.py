import pytest
from support.greedy_requests import MakeEngine, Prompts

from server.engine.sample_answers import sample_answers
from server.errors import GenerationError

SOME = slice(5, 9)


def ignore(_done: int, _total: int) -> None:
    pass


def test_prompts_go_on_with_an_answer(make_engine: MakeEngine, prompts: Prompts) -> None:
    reports: list[tuple[int, int]] = []
    engine = make_engine()
    found = sample_answers(engine, prompts[SOME], 6, 60, lambda *report: reports.append(report))
    for prompt, text in zip(prompts[SOME], found, strict=True):
        assert text[: len(prompt)] == prompt
        assert len(prompt) < len(text) <= len(prompt) + 6
    assert reports == sorted(reports)
    assert reports[-1] == (24, 24)
    assert found == sample_answers(make_engine(), prompts[SOME], 6, 60, ignore)


def test_the_time_ends_all_answers(make_engine: MakeEngine, prompts: Prompts) -> None:
    engine = make_engine()
    assert sample_answers(engine, prompts[SOME], 6, 0, ignore) == prompts[SOME]
    assert not engine.has_work
    assert engine.kv.num_used_blocks == 0


def test_a_prompt_without_room_for_an_answer_is_left_out(
    make_engine: MakeEngine, prompts: Prompts
) -> None:
    engine = make_engine(num_kv_blocks=3)
    too_long = list(range(3, 3 + engine.limits.max_num_tokens))
    [text] = sample_answers(engine, [too_long, prompts[3]], 4, 60, ignore)
    assert text[: len(prompts[3])] == prompts[3]
    with pytest.raises(GenerationError, match="no prompt fits"):
        sample_answers(engine, [too_long], 4, 60, ignore)
