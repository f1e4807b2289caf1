"""Tokenizers in which a mark inside the name of a special token makes it plain text.

The operation SpecialTokensSplit does not know a name with a mark. Then the mark goes away, in one
of two ways: simply removed, as most tokenizers know names of special tokens nowhere else; or by
splitting the text there, where a vocabulary has these names among all others.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from openvino import opset15 as ops

from calculators.chat_template.plain_names import MARK
from calculators.inference.openvino_ir import find_ops
from calculators.text.text_encoder import TextEncoder
from server.errors import ModelLoadError
from server.host.model_files import TOKENIZER_FILE
from server.host.openvino_core import tokenizer_operations

__all__ = ["encoder_that_drops_marks"]

# A noncharacter, in no vocabulary.
UNKNOWN = "\ufdd5"


def encoder_that_drops_marks(
    models_path: Path, special: Collection[int], names: Sequence[str]
) -> TextEncoder:
    """The encoder of a folder; `special` and `names` are the ids and texts of special tokens.

    Raises ModelLoadError for a tokenizer that cannot be changed so.
    """
    ways: list[Callable[[Any], None]] = [_remove_marks, _split_at_marks]
    for way in ways:
        try:
            encoder = TextEncoder(models_path, way)
        except _UnknownForm:
            continue
        # The token of unknown text is a special one, too.
        looked_for = set(special) - set(encoder.encode(UNKNOWN, add_special_tokens=False))
        texts = [name[:1] + MARK + name[1:] for name in map(str.strip, names) if len(name) > 1]
        found = encoder.encode_many(texts, add_special_tokens=False)
        if not any(looked_for & set(ids) for ids in found):
            return encoder
    raise ModelLoadError(
        f"{models_path / TOKENIZER_FILE}: split_special_tokens is not possible with this "
        "tokenizer: it finds special tokens in a way that has no switch for a part of a text"
    )


class _UnknownForm(Exception):
    """A tokenizer that is built otherwise."""


def _remove_marks(model: Any) -> None:
    """Remove them behind the operation that finds special tokens."""
    node = _only(model, "SpecialTokensSplit")
    # Begins and ends of rows; then begins, ends and bytes of the texts, and which are special.
    texts = [node.output(index) for index in range(2, 6)]
    readers = [list(output.get_target_inputs()) for output in texts]
    inputs = [*texts, _text(MARK), _text("")]
    removed = tokenizer_operations().create("RegexNormalization", inputs, {"global_replace": True})
    for index, found in enumerate(readers):
        for reader in found:
            reader.replace_source_output(removed.output(index))


def _split_at_marks(model: Any) -> None:
    """Split texts at them, and drop them, right before texts become tokens."""
    _only(model, "SpecialTokensSplit")
    node = _only(model, "BPETokenizer")
    sources = [node.input_value(index) for index in range(5)]
    # Which texts are special comes behind their bytes.
    chars = sources[-1]
    skips = chars.get_node().output(chars.get_index() + 1)
    attributes = {"behaviour": "remove", "invert": False, "max_splits": -1}
    split = tokenizer_operations().create("RegexSplit", [*sources, skips, _text(MARK)], attributes)
    for index in range(5):
        node.input(index).replace_source_output(split.output(index))


def _only(model: Any, type_name: str) -> Any:
    found = find_ops(model, type_name)
    if len(found) != 1:
        raise _UnknownForm
    return found[0]


def _text(text: str) -> Any:
    return ops.constant(np.frombuffer(text.encode(), np.uint8)).output(0)
