"""What a request says about thinking, in the words of a chat template."""

from collections.abc import Mapping

from calculators.chat_template.template_traits import TemplateTraits
from server.payloads import ReasoningEffort as Effort

__all__ = ["thinking_budget", "thinking_variables"]

UNLIMITED = -1
# Tokens of thinking for models whose template knows no efforts.
BUDGETS: Mapping[Effort, int | None] = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 4096,
    "high": 16_384,
    "xhigh": 32_768,
    "max": None,
}


def thinking_variables(
    traits: TemplateTraits, effort: Effort | None, budget: int | None
) -> Mapping[str, object]:
    """Variables of the template for an effort of thinking, and for a budget in tokens."""
    variables: dict[str, object] = {}
    if traits.thinking_budget:
        # -1 is no limit, in the words of clients and of templates.
        found = BUDGETS[effort] if budget is None and effort is not None else budget
        if found is not None:
            variables["thinking_budget"] = found
    if effort is None:
        return variables
    is_on = effort != "none"
    # A template that the probe learnt nothing about may know these.
    variables |= {"enable_thinking": is_on, "reasoning_effort": effort}
    variables |= {name: on if is_on else off for name, (off, on) in traits.switches.items()}
    for name, values in traits.efforts.items():
        variables.pop(name, None)
        if effort in values:
            variables[name] = values[effort]
    return variables


def thinking_budget(
    traits: TemplateTraits, effort: Effort | None, budget: int | None
) -> int | None:
    """How many tokens the model may think; None is no limit. A `budget` of -1 is no limit either.

    An effort is a limit where the template has no words for it.
    """
    if budget == UNLIMITED:
        return None
    if budget is not None or effort is None or traits.thinking_budget:
        return budget
    if effort == "none":
        return None if traits.can_turn_off else 0
    return None if traits.efforts else BUDGETS[effort]
