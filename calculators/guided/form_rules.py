"""Grammar rules of the form that a request asks for: JSON, a regex, a choice, a grammar, tags."""

from calculators.guided.expressions import check_size, literal, nested_grammar, regex_literal
from calculators.guided.json_rule import json_rules
from calculators.guided.structural_tag import structural_tag_rules
from server.payloads import AnswerFormat

__all__ = ["form_rules"]


def form_rules(answer_format: AnswerFormat) -> list[str]:
    """Lines of a Lark grammar whose rule `form` is the answer. Raises InvalidRequestError."""
    value, field = answer_format.value, answer_format.field
    match answer_format.kind:
        case "json":
            has_white_space = answer_format.has_white_space
            (rule,) = json_rules([value], field, has_white_space=has_white_space)
            return [f"form: {rule}"]
        case "regex":
            return [f"form: {regex_literal(value, field)}"]
        case "choice":
            check_size("".join(value), field)
            return [f"form: {' | '.join(map(literal, value))}"]
        case "grammar":
            return [f"form: {nested_grammar(value, field)}"]
        case "structural_tag":
            return structural_tag_rules(value, field)
