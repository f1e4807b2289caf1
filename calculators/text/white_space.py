"""White space of tokenizers that split texts at it, such as those of XLM-RoBERTa."""

import json
import re
from pathlib import Path
from typing import Any

from server.errors import ModelLoadError

__all__ = ["single_spaces", "splits_at_white_space"]

# What Unicode calls white space; U+000B and U+0085 stay, since normalizers remove them.
_WHITE_SPACE = re.compile(r"[\t\n\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def splits_at_white_space(models_path: Path) -> bool:
    """Whether tokenizer.json has the step WhitespaceSplit. Raises ModelLoadError.

    OpenVINO's conversion of such a tokenizer makes tokens of line breaks, tabs and the white space
    at the end of a text; the tokenizer itself drops them.
    """
    path = models_path / "tokenizer.json"
    try:
        content = path.read_bytes() if path.is_file() else b""
        # Most files are spared the parser: they may have tens of megabytes.
        if b'"WhitespaceSplit"' not in content:
            return False
        return _has_step(json.loads(content)["pre_tokenizer"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelLoadError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error


def single_spaces(text: str) -> str:
    """The words with a blank between them, which such a tokenizer cannot tell from the text."""
    return _WHITE_SPACE.sub(" ", text).strip(" ")


def _has_step(step: Any) -> bool:
    if step is None:
        return False
    return step["type"] == "WhitespaceSplit" or any(map(_has_step, step.get("pretokenizers", ())))
