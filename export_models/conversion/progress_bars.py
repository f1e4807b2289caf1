"""Finds the progress bars of NNCF, drawn with rich, in what a tool prints."""

import re
from dataclasses import dataclass

__all__ = ["BAR_ENVIRONMENT", "Bar", "find_bars"]

# With these rich draws its bars into a file, too, one line for each change.
BAR_ENVIRONMENT = {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "COLUMNS": "120"}
CONTROL = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")
BAR = re.compile(r"^(\w[^\n━╸╺]*?) [━╸╺]+ +(\d+)% *([^\n•]*)(?:•[^\n•]*• *(\S+))?[^\n•]*\n", re.M)
# What NNCF calls its steps, and what they are.
NAMES = {
    "Statistics collection": "measuring the activations",
    "Applying Smooth Quant": "smoothing the activations",
    "Applying Fast Bias correction": "correcting the biases",
    "Mixed-Precision assignment": "choosing a precision for each matrix",
    "Applying Weight Compression": "compressing the weights",
}


@dataclass(frozen=True)
class Bar:
    """A step of the tool, how much of it is done, 0 to 1, and its last words, such as "3/8"."""

    step: str
    fraction: float
    detail: str


def find_bars(output: str) -> list[Bar]:
    """The bars in a piece of output; one whose line is not complete is left out."""
    return [_bar(*found.groups()) for found in BAR.finditer(CONTROL.sub("", output))]


def _bar(name: str, percent: str, count: str, left: str | None) -> Bar:
    left = f"{left} left" if left and left[0].isdigit() else ""
    detail = ", ".join(filter(None, [count.strip(), left]))
    return Bar(NAMES.get(name.strip(), name.strip()), int(percent) / 100, detail)
