"""`format` and `pattern` of a JSON schema as patterns that llguidance knows."""

import re

__all__ = ["FORMAT_PATTERNS", "KNOWN_FORMATS", "listed_texts", "split_lookaheads"]

YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
MONTH_AND_DAY = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
DATE = f"(?:{YEAR}-{MONTH_AND_DAY}|{LEAP_YEAR}-02-29)"
# Programs that read the answer know no leap seconds, and rarely more than microseconds.
MINUTES = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
TIME = rf"{MINUTES}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{MINUTES})"

# Tighter than llguidance's: days that exist, in years that every calendar library has.
FORMAT_PATTERNS = {
    "date": f"^{DATE}$",
    "time": f"^{TIME}$",
    "date-time": f"^{DATE}T{TIME}$",
    "json-pointer": "^(?:/(?:[^~/]|~0|~1)*)*$",
    "uuid": "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
# By llguidance itself. Other formats are annotations (JSON Schema 2020-12, 7.2.1).
KNOWN_FORMATS = frozenset({"duration", "email", "hostname", "ipv4", "ipv6", "uri"})

# Of libraries whose patterns look ahead, the same without that.
SAME_PATTERNS = {
    # zod's email
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]"
    r"@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$": (
        r"^(?:[A-Za-z0-9_'+-]+\.)*[A-Za-z0-9_'+-]*[A-Za-z0-9_+-]"
        r"@(?:[A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}$"
    ),
    # pydantic's Decimal
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$": r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$",
}
# Each step of the search reads the rest of the pattern.
MAX_PATTERN = 2000
TEXT_LIST = re.compile(r"\^\(?(?:\?:)?([\w-]+(?:\|[\w-]+)*)\)?\$")


def split_lookaheads(pattern: str) -> list[str]:
    """Patterns that together mean the same: those that are looked for ahead, and the rest."""
    pattern = SAME_PATTERNS.get(pattern, pattern)
    found = []
    while pattern.startswith("^(?=") and len(pattern) <= MAX_PATTERN:
        end = _end_of_group(pattern, 1)
        if end is None or _has_alternatives(pattern):
            break
        found.append(f"^(?:{pattern[4:end]})")
        pattern = "^" + pattern[end + 1 :]
    return [*found, pattern]


def listed_texts(pattern: str) -> list[str] | None:
    """The texts that a pattern such as ^(a|b)$ lists; None for any other pattern."""
    found = TEXT_LIST.fullmatch(pattern)
    is_group = pattern.startswith("^(") == pattern.endswith(")$")
    if found is None or not is_group or ("|" in found[1] and "(" not in pattern):
        return None
    return found[1].split("|")


def _end_of_group(pattern: str, start: int) -> int | None:
    """Where the group that begins at `start` ends."""
    depth, is_class, i = 0, False, start
    while i < len(pattern):
        mark = pattern[i]
        if mark == "\\":
            i += 1
        elif is_class:
            is_class = mark != "]"
        elif mark == "[":
            is_class = True
            # A bracket that comes first is a member of its class.
            i += pattern[i + 1 : i + 2] in {"]", "^"}
        elif mark in "()":
            depth += 1 if mark == "(" else -1
            if depth == 0:
                return i
        i += 1
    return None


def _has_alternatives(pattern: str) -> bool:
    """Whether the pattern is several, of which only the first looks ahead."""
    depth = 0
    for i, mark in enumerate(pattern):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if mark == "|" and depth <= 0 and pattern[i - 1] != "\\":
            return True
    return False
