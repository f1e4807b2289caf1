"""Constrained answers: JSON that satisfies a schema, or calls of the request's tools.

For the LLM executor calculator alone.
"""

from calculators.guided.answer_grammar import answer_grammar, has_grammar
from calculators.guided.compiler import GrammarCompiler
from calculators.guided.constraint import GrammarConstraint
from calculators.guided.grammar import Grammar

__all__ = ["Grammar", "GrammarCompiler", "GrammarConstraint", "answer_grammar", "has_grammar"]
