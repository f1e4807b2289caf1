"""What the values of flags are made of; each raises ArgumentTypeError with what is possible."""

import argparse
import math
import re
from collections.abc import Callable

__all__ = [
    "addresses",
    "at_least",
    "boolean",
    "names",
    "origins",
    "port",
    "seconds",
]

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s@]+|null|\*")


def port(text: str) -> int:
    """A TCP port; 0 is any that is free."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; possible: 0 to 65535")
    return int(text)


def addresses(text: str) -> tuple[str, ...]:
    """Addresses with commas between."""
    found = _split(text)
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty address")
    return found


def names(text: str) -> tuple[str, ...]:
    """Names of HTTP methods or headers with commas between."""
    found = _split(text)
    for name in found:
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise argparse.ArgumentTypeError(f"{name!r} is no name that HTTP knows")
    return _alone_if_any(text, found)


def origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them, with commas between."""
    found = _split(text)
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise argparse.ArgumentTypeError(
                f"{origin!r} is no origin; it has the form https://host:port, without a path"
            )
    return _alone_if_any(text, found)


def seconds(text: str) -> float:
    """A time of up to a day."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; possible: 0 to 86400 seconds")
    return value


def at_least(minimum: int) -> Callable[[str], int]:
    """Make the parser of a whole number."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) <= 18
        if not is_number or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} on")
        return int(text)

    return parse


def boolean(text: str) -> bool:
    """The words that Model Server takes for true and false."""
    values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _alone_if_any(text: str, found: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in found and len(found) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: * stands for all and needs no others")
    return found
