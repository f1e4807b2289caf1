"""placeholder"""

from dataclasses import dataclass
from typing import Any

from server.graph.config import Position


class OptionsError(Exception):
    def __init__(self, problems: list[tuple[Position | None, str]]) -> None:
        self.problems = problems


@dataclass(frozen=True)
class OptionsText:
    text: str


def make_options(cls: type, text: OptionsText | None) -> Any:
    return cls()
