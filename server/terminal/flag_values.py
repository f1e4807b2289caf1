"""Parsers of the values of flags; each raises ArgumentTypeError with what is possible."""

import argparse
import ipaddress
import math
import re
from collections.abc import Callable
from urllib.parse import urlsplit

__all__ = [
    "addresses",
    "at_least",
    "device",
    "names",
    "networks",
    "origins",
    "otlp_url",
    "port",
    "seconds",
]

OTLP_SCHEMES = {"http", "https", "grpc", "grpcs"}
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s@]+|null|localhost|\*")


def port(text: str) -> int:
    """A TCP port; 0 means any free one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; possible: 0 to 65535")
    return int(text)


def addresses(text: str) -> tuple[str, ...]:
    """Addresses, separated by commas."""
    found = _split(text)
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty address")
    return found


def names(text: str) -> tuple[str, ...]:
    """Names of HTTP methods or headers, separated by commas."""
    found = _split(text)
    for name in found:
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise argparse.ArgumentTypeError(f"{name!r} is not a valid name in HTTP")
    return _alone_if_any(text, found)


def networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Addresses or networks, 10.0.0.0/8 for example, separated by commas."""
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in _split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def origins(text: str) -> tuple[str, ...]:
    """Origins as browsers send them, separated by commas."""
    found = _split(text)
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise argparse.ArgumentTypeError(
                f"{origin!r} is not an origin; the form is https://host:port, without a path; "
                "localhost means all pages of this machine, * all pages"
            )
    return _alone_if_any(text, found)


def number(text: str) -> float:
    """A number that is neither NaN nor infinite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def seconds(text: str) -> float:
    """A time of up to a day."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; possible: 0 to 86400 seconds")
    return value


def gigabytes(text: str) -> float:
    """An amount of memory in GB; 0 stands for no limit."""
    value = number(text)
    if not 0 <= value <= 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of memory in GB")
    return value


def at_least(minimum: int) -> Callable[[str], int]:
    """Make the parser of a whole number."""

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdigit() and len(text) <= 18
        if not is_number or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum}")
        return int(text)

    return parse


def device(text: str) -> str:
    """An OpenVINO device that can run the models of this project."""
    if not text.isprintable() or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a device")
    if "NPU" in text.upper():
        raise argparse.ArgumentTypeError("NPU is not supported yet: it has no paged attention")
    return text


def otlp_url(text: str) -> str:
    """The URL of a collector of traces; without a scheme it is http."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        is_possible = parts.scheme in OTLP_SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        is_possible = False
    if not is_possible:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the URL of a collector; expected, for example, http://localhost:4318"
        )
    return url


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _alone_if_any(text: str, found: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in found and len(found) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: * means all; leave the others out")
    return found
