"""Efforts of thinking in the words of a template."""

import pytest

from calculators.chat_template.efforts import map_efforts
from calculators.chat_template.template_traits import TemplateTraits
from calculators.chat_template.thinking import thinking_budget, thinking_variables

SWITCH = TemplateTraits(switches={"thinking": (False, True)})
EFFORTS = TemplateTraits(efforts={"strength": {"none": "low", "low": "low", "high": "high"}})
BOTH = TemplateTraits(
    switches={"enable_thinking": (False, True)}, efforts={"reasoning_effort": {"max": "max"}}
)
BUDGET = TemplateTraits(thinking_budget=True)


@pytest.mark.parametrize(
    ("traits", "effort", "expected"),
    [
        (SWITCH, None, {}),
        (SWITCH, "none", {"thinking": False}),
        (SWITCH, "low", {"thinking": True}),
        (EFFORTS, "none", {"strength": "low"}),
        (EFFORTS, "high", {"strength": "high"}),
        (BOTH, "none", {"enable_thinking": False}),
        (BOTH, "max", {"enable_thinking": True, "reasoning_effort": "max"}),
        (BUDGET, "none", {"thinking_budget": 0}),
        (BUDGET, "max", {}),
    ],
)
def test_an_effort_sets_the_variables_that_a_template_knows(traits, effort, expected):
    usual = {"enable_thinking", "reasoning_effort"} - traits.switches.keys() - traits.efforts.keys()
    variables = thinking_variables(traits, effort, None)
    assert {n: v for n, v in variables.items() if n not in usual} == expected


def test_a_template_of_which_nothing_is_known_gets_the_usual_variables():
    variables = thinking_variables(TemplateTraits(is_probed=False), "low", None)
    assert variables == {"enable_thinking": True, "reasoning_effort": "low"}


def test_the_budget_of_the_request_reaches_a_template_that_knows_budgets():
    assert thinking_variables(BUDGET, None, 100) == {"thinking_budget": 100}
    assert thinking_variables(SWITCH, None, 100) == {}


@pytest.mark.parametrize(
    ("traits", "effort", "budget", "expected"),
    [
        (SWITCH, None, None, None),
        (SWITCH, "none", None, None),
        (SWITCH, "low", None, 1024),
        (SWITCH, "max", None, None),
        (SWITCH, "low", 7, 7),
        (TemplateTraits(), "none", None, 0),
        (EFFORTS, "none", None, 0),
        (EFFORTS, "low", None, None),
        (BUDGET, "low", None, None),
        (BUDGET, "low", 7, 7),
    ],
)
def test_an_effort_is_a_budget_where_the_template_has_no_words_for_it(
    traits, effort, budget, expected
):
    assert thinking_budget(traits, effort, budget) == expected


def test_an_effort_between_two_known_ones_is_the_nearest_and_rather_the_higher():
    mapped = map_efforts(["low", "high", "max"], has_default=False)
    assert [mapped[e] for e in ("minimal", "medium", "xhigh")] == ["low", "high", "max"]
    assert map_efforts([], has_default=False) == {}
