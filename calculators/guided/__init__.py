"""Constrained answers: JSON that satisfies a schema, calls of the request's tools, short thinking.

For the LLM executor calculator alone.
"""

from calculators.guided.answer_grammar import answer_grammar, has_grammar
from calculators.guided.compiler import GrammarCompiler
from calculators.guided.constraint import GrammarConstraint
from calculators.guided.grammar import Grammar
from calculators.guided.thinking_budget import ThinkingBudget, ThinkingLimiter

__all__ = [
    "Grammar",
    "GrammarCompiler",
    "GrammarConstraint",
    "ThinkingBudget",
    "ThinkingLimiter",
    "answer_grammar",
    "has_grammar",
]
