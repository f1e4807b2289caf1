"""The request fields of a chat about thinking: OpenAI's, vLLM's, and other servers' names."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from server.payloads import ReasoningEffort
from server.protocol.openai.choices_fields import ChoicesFields
from server.protocol.openai.generation_fields import Count

__all__ = ["ThinkingFields"]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class ThinkingSwitch(_Part):
    """The `thinking` object of Anthropic, DeepSeek and others."""

    type: Literal["enabled", "disabled", "adaptive", "auto"]
    budget_tokens: Count | None = Field(None, ge=0)


class ReasoningOptions(_Part):
    """The `reasoning` object of OpenRouter."""

    effort: ReasoningEffort | None = None
    max_tokens: Count | None = Field(None, ge=0)
    enabled: bool | None = None
    exclude: bool = False


class ThinkingFields(ChoicesFields):
    """How much a model is to think, and whether its thoughts are shown.

    `reasoning_effort` and `thinking_token_budget` win over other servers' names.
    """

    reasoning_effort: ReasoningEffort | None = None
    thinking_token_budget: Count | None = Field(None, ge=-1)
    include_reasoning: bool = True
    enable_thinking: bool | None = None
    thinking: ThinkingSwitch | None = None
    reasoning: ReasoningOptions = Field(default_factory=lambda: ReasoningOptions(max_tokens=None))

    def effort(self) -> ReasoningEffort | None:
        """The effort; "none" where a switch is off."""
        effort = self.reasoning_effort or self.reasoning.effort
        return "none" if effort is None and self._switch() is False else effort

    def budget(self) -> int | None:
        """The most tokens of thinking."""
        budgets = [
            self.thinking_token_budget,
            None if self.thinking is None else self.thinking.budget_tokens,
            self.reasoning.max_tokens,
        ]
        return next((budget for budget in budgets if budget is not None), None)

    def switch_kwargs(self) -> Mapping[str, bool]:
        """Variables for the chat template that turn thinking on, if the client does so."""
        if self._switch() is not True or self.effort() is not None:
            return {}
        return {"enable_thinking": True, "thinking": True}

    def shows_reasoning(self) -> bool:
        """Whether the answer has the reasoning."""
        return self.include_reasoning and not self.reasoning.exclude

    def _switch(self) -> bool | None:
        """Whether a switch is on or off; None where there is none."""
        if self.enable_thinking is not None:
            return self.enable_thinking
        if self.thinking is not None and self.thinking.type in ("enabled", "disabled"):
            return self.thinking.type == "enabled"
        return self.reasoning.enabled
