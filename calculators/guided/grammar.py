"""The form of an answer, not yet compiled for the tokens of a model."""

from dataclasses import dataclass

from server.errors import InvalidRequestError

__all__ = ["TOOLS", "Grammar", "GrammarError"]

TOOLS = "tools"


@dataclass(frozen=True, slots=True)
class Grammar:
    """A Lark grammar with llguidance's extensions; `field` of the request asks for it.

    Its first lines are one rule for each tool of `tool_names`. `shown` are the special tokens that
    appear as text in the answer. With `is_json` all quotation marks and brackets are those of JSON.
    """

    lark: str
    field: str
    tool_names: tuple[str, ...] = ()
    shown: frozenset[str] = frozenset()
    is_json: bool = False


class GrammarError(InvalidRequestError):
    """A grammar that cannot be followed; says which field of the request asked for it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", field)
