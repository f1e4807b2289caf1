"""Answers that must follow a form: JSON of a schema, or calls of the request's tools."""

from calculators.guided.answer_grammar import answer_grammar, has_grammar
from calculators.guided.compiler import GrammarCompiler
from calculators.guided.constraint import GrammarConstraint
from calculators.guided.grammar import Grammar

__all__ = ["Grammar", "GrammarCompiler", "GrammarConstraint", "answer_grammar", "has_grammar"]
