"""Which grammar the answer to a request must follow."""

from calculators.guided.grammar import Grammar
from calculators.guided.json_rule import json_rule
from server.payloads import GenerationRequest

__all__ = ["answer_grammar"]


def answer_grammar(request: GenerationRequest) -> Grammar:
    """The grammar of a request with a `json_schema`; raises InvalidRequestError for a large one."""
    assert request.json_schema is not None, "the request asks for a form"
    field = "response_format"
    return Grammar(f"start: {json_rule(request.json_schema, field)}", field)
