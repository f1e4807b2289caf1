"""What an answer must follow, before it is compiled for the tokens of a model."""

from dataclasses import dataclass

from server.errors import InvalidRequestError

__all__ = ["Grammar", "GrammarError"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """A Lark grammar with llguidance's extensions; `field` is what in the request asks for it."""

    lark: str
    field: str


class GrammarError(InvalidRequestError):
    """A grammar that cannot be followed; says which field of the request asked for it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", field)
