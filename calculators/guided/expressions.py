"""Regular expressions and grammars of clients as expressions of a grammar rule."""

import json
import re

from llguidance.gbnf_to_lark import any_to_lark

from calculators.guided.grammar import GrammarError

__all__ = ["check_size", "literal", "nested_grammar", "regex_literal"]

MAX_CHARACTERS = 2**17
# The slash that ends a regex of Lark, if no odd number of backslashes is before it.
SLASH = re.compile(r"(?<!\\)((?:\\\\)*)/")
HEADER = re.compile(r"^[ \t]*%llguidance.*$", re.MULTILINE)


def literal(text: str) -> str:
    """A text as a grammar writes it; nothing for an empty one."""
    return json.dumps(text, ensure_ascii=False) if text else ""


def regex_literal(pattern: str, field: str) -> str:
    """A regular expression that the whole text must match."""
    check_size(pattern, field)
    if not pattern:
        raise GrammarError(field, "the regular expression is empty")
    escaped = SLASH.sub(r"\1\\/", pattern)
    return f"/{escaped}/"


def nested_grammar(grammar: str, field: str) -> str:
    """A grammar of Lark, or of GBNF, as a part of another one."""
    check_size(grammar, field)
    try:
        lark = any_to_lark(grammar)
    except RecursionError as error:
        raise GrammarError(field, "the grammar is nested too deeply") from error
    except Exception as error:
        # The converter has no error class of its own.
        raise GrammarError(field, f"the grammar cannot be read: {error}"[:300]) from error
    return f"%lark {{\n{HEADER.sub('', lark)}\n}}"


def check_size(text: str, field: str) -> None:
    """Raise InvalidRequestError for a text that takes too long to compile."""
    if len(text) > MAX_CHARACTERS:
        raise GrammarError(field, f"it has more than {MAX_CHARACTERS} characters")
