"""Text to token ids, by an openvino_tokenizer.xml without its truncation and padding."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from calculators.inference.openvino_ir import InferRequestPool, find_ops, read_tokenizer_ir
from calculators.text.white_space import single_spaces, splits_at_white_space
from server.errors import InvalidRequestError, ModelLoadError
from server.host.model_files import TOKENIZER_FILE

__all__ = ["TextEncoder"]


_ZERO = np.zeros(1, np.int32)


class TextEncoder:
    """Encodes texts, with and without the special tokens; safe to use from threads.

    An exported tokenizer always adds its special tokens; it may pad, and cut long texts silently.
    Here one compiled model gives two results: the tokens of the tokenization step, and those with
    the special tokens that the CombineSegments step adds. SentencePiece operations add special
    tokens themselves: they are counted once and cut off. White space that the tokenizer would drop
    is dropped before.
    """

    def __init__(self, models_path: Path) -> None:
        path = models_path / TOKENIZER_FILE
        model = read_tokenizer_ir(path, "the tokenizer")
        parameters = model.get_parameters()
        if len(parameters) != 1 or parameters[0].get_element_type() != ov.Type.string:
            inputs = ", ".join(f"{p.get_element_type().get_type_name()}" for p in parameters)
            raise ModelLoadError(
                f"{path}: has inputs of type {inputs or 'none'}; a tokenizer for text generation "
                "has one input of type string"
            )
        self._has_words_only = splits_at_white_space(models_path)
        self._has_segments = bool(find_ops(model, "CombineSegments"))
        outputs = _ragged_outputs(model, path) if self._has_segments else _dense_outputs(model)
        self._requests = InferRequestPool(_with_byte_input(model, outputs))
        self._num_prefix, self._num_suffix = (
            (0, 0) if self._has_segments else self._count_special_tokens()
        )

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids; raises InvalidRequestError for half of a surrogate pair."""
        return self.encode_many([text], add_special_tokens)[0]

    def encode_many(self, texts: Sequence[str], add_special_tokens: bool) -> list[tuple[int, ...]]:
        """Return the token ids of each text, much faster than one by one."""
        bare = [single_spaces(text) if self._has_words_only else text for text in texts]
        raws = [_to_utf8(text) for text in bare]
        ends = np.cumsum([len(raw) for raw in raws], dtype=np.int32)
        begins = np.concatenate([_ZERO, ends[:-1]])
        with self._requests.borrow() as request:
            request.infer([begins, ends, np.frombuffer(b"".join(raws), np.uint8)])
            if self._has_segments:
                return _read_ragged(request, 3 if add_special_tokens else 0)
            rows = _read_dense(request)
        if add_special_tokens:
            return rows
        return [ids[self._num_prefix : len(ids) - self._num_suffix] for ids in rows]

    def special_tokens(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the tokenizer puts before and after every text."""
        whole, bare = self.encode("a", True), self.encode("a", False)
        num_special = len(whole) - len(bare)
        for start in range(num_special + 1):
            end = start + len(bare)
            if whole[start:end] == bare:
                return whole[:start], whole[end:]
        return (), ()

    def _count_special_tokens(self) -> tuple[int, int]:
        bare, probe = self.encode("", True), self.encode("a", True)
        num_prefix = 0
        while num_prefix < len(bare) and bare[num_prefix] == probe[num_prefix]:
            num_prefix += 1
        return num_prefix, len(bare) - num_prefix


def _to_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"the text has the lone surrogate U+{ord(text[error.start]):04X} at character "
            f"{error.start}, which is half of a character; send whole characters"
        ) from error


def _with_byte_input(model: Any, outputs: list[Any]) -> Any:
    """Make a model that takes (begins, ends, UTF-8 bytes).

    OpenVINO's Python tensors of strings lose NUL characters at the end of a text.
    """
    begins, ends = ops.parameter([-1], ov.Type.i32), ops.parameter([-1], ov.Type.i32)
    chars = ops.parameter([-1], ov.Type.u8)
    packed = ops.string_tensor_pack(begins, ends, chars)
    model.get_parameters()[0].output(0).replace(packed.output(0))
    return ov.Model([ops.result(output) for output in outputs], [begins, ends, chars], "encoder")


def _ragged_outputs(model: Any, path: Path) -> list[Any]:
    """Return begins, ends, ids of the tokens alone, then of the tokens with special tokens."""
    combine = find_ops(model, "CombineSegments")[-1]
    starts = [
        index
        for index in range(0, combine.get_input_size() - 1, 3)
        if combine.input_value(index + 2).get_node().get_type_name() != "Constant"
    ]
    if len(starts) != 1:
        raise ModelLoadError(
            f"{path}: combines {len(starts)} texts; a tokenizer for text generation takes one"
        )
    tokens = _before_truncation(combine.input_value(starts[0] + 2))
    for offset, output in enumerate(tokens):
        combine.input(starts[0] + offset).replace_source_output(output)
    return [*tokens, *(combine.output(index) for index in range(3))]


def _before_truncation(ids: Any) -> list[Any]:
    """Follow token ids up to the tokenization step; return its begins, ends and ids.

    Newer exports truncate with an operation, older ones by arithmetic on begins and ends. Taking
    all three from the tokenization step leaves out either.
    """
    while ids.get_node().get_type_name() == "Truncate":
        ids = ids.get_node().input_value(ids.get_index())
    node, index = ids.get_node(), ids.get_index()
    return [node.output(index - 2), node.output(index - 1), ids]


def _dense_outputs(model: Any) -> list[Any]:
    """Return the ids, and the mask that is true where a token is no padding."""
    outputs = []
    for name in ("input_ids", "attention_mask"):
        source = model.output(name).get_node().input_value(0)
        while source.get_node().get_type_name() in ("Slice", "Convert"):
            source = source.get_node().input_value(0)
        outputs.append(source)
    return outputs


def _read_ragged(request: Any, first_output: int) -> list[tuple[int, ...]]:
    begins, ends, ids = (request.get_output_tensor(first_output + i).data for i in range(3))
    return [
        tuple(ids[begin:end].tolist())
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
    ]


def _read_dense(request: Any) -> list[tuple[int, ...]]:
    rows, masks = (request.get_output_tensor(index).data for index in range(2))
    return [tuple(ids[mask.astype(bool)].tolist()) for ids, mask in zip(rows, masks, strict=True)]
