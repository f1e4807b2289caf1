"""Text to token ids, by an openvino_tokenizer.xml without its truncation and padding."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from calculators.inference.openvino_ir import InferRequestPool, find_ops, read_tokenizer_ir
from calculators.text.white_space import single_spaces, splits_at_white_space
from server.errors import InvalidRequestError, ModelLoadError
from server.host.model_files import TOKENIZER_FILE

__all__ = ["SLICE_CHARACTERS", "TextEncoder", "texts_at_once"]


T = TypeVar("T")

MAX_TOKENS = 2**20
"""Of one text."""
# A longer text is read in slices until it is known how many tokens it has at least.
SLICE_CHARACTERS = 50_000
MAX_BYTES_OF_CHARACTER = 4
# Where a text is cut, so many tokens may differ from those of the whole text.
NUM_AT_CUT = 256
_ZERO = np.zeros(1, np.int32)


class TextEncoder:
    """Encodes texts, with and without the special tokens; safe to use from threads.

    An exported tokenizer always adds its special tokens; it may pad, and cut long texts silently.
    Here one compiled model gives two results: the tokens of the tokenization step, and those with
    the special tokens that the CombineSegments step adds. SentencePiece operations add special
    tokens themselves: they are counted once and cut off. White space that the tokenizer would drop
    is dropped before.
    `drop_marks` changes the tokenizer as marks.py says.
    """

    def __init__(self, models_path: Path, drop_marks: Callable[[Any], None] | None = None) -> None:
        path = models_path / TOKENIZER_FILE
        model = read_tokenizer_ir(path, "the tokenizer")
        parameters = model.get_parameters()
        if len(parameters) != 1 or parameters[0].get_element_type() != ov.Type.string:
            inputs = ", ".join(f"{p.get_element_type().get_type_name()}" for p in parameters)
            raise ModelLoadError(
                f"{path}: has inputs of type {inputs or 'none'}; a tokenizer for text generation "
                "has one input of type string"
            )
        if drop_marks is not None:
            drop_marks(model)
        self._has_words_only = splits_at_white_space(models_path)
        self._has_segments = bool(find_ops(model, "CombineSegments"))
        outputs = _ragged_outputs(model, path) if self._has_segments else _dense_outputs(model)
        self._requests = InferRequestPool(_with_byte_input(model, outputs))
        self._num_prefix, self._num_suffix = (
            (0, 0) if self._has_segments else self._count_special_tokens()
        )

    def encode(self, text: str, add_special_tokens: bool) -> tuple[int, ...]:
        """Return the token ids.

        Raises InvalidRequestError for half of a surrogate pair, and for more than MAX_TOKENS.
        """
        return self.encode_many([text], add_special_tokens)[0]

    def encode_many(self, texts: Sequence[str], add_special_tokens: bool) -> list[tuple[int, ...]]:
        """Return the token ids of each text, much faster than one by one. Raises as `encode`."""
        found: list[tuple[int, ...]] = []
        for some in texts_at_once(texts):
            for text in some:
                self._check_size(text)
            found += self._run(some, partial(self._read, has_special=add_special_tokens))
        return found

    def encode_start(self, text: str, num_tokens: int) -> tuple[int, ...]:
        """Return the first tokens of a text, without special tokens: so many, or a few more.

        What is behind them is not read.
        """
        size = SLICE_CHARACTERS
        while size < len(text):
            token_ids = self.encode(text[:size], add_special_tokens=False)
            if len(token_ids) >= num_tokens + NUM_AT_CUT:
                return token_ids[: num_tokens + 1]
            size *= 4
        return self.encode(text, add_special_tokens=False)

    def encode_end(
        self, text: str, num_tokens: int, add_special_tokens: bool = False
    ) -> tuple[int, ...]:
        """Return the last tokens of a text: so many, or a few more. What is before is not read."""
        size = SLICE_CHARACTERS
        while size < len(text):
            token_ids = self.encode(text[-size:], add_special_tokens)
            if len(token_ids) >= num_tokens + NUM_AT_CUT:
                return token_ids[-num_tokens - 1 :]
            size *= 4
        return self.encode(text, add_special_tokens)

    def count_at_least(self, text: str, enough: int) -> int:
        """How many tokens a text has at least, without special tokens; 0 for a short text.

        It is read in slices, and no further when there are more than `enough` tokens.
        """
        num_found = 0
        if len(text) > max(SLICE_CHARACTERS, enough // MAX_BYTES_OF_CHARACTER):
            for start in range(0, len(text), SLICE_CHARACTERS):
                some = [text[start : start + SLICE_CHARACTERS]]
                (num_tokens,) = self._run(some, self._count)
                num_found += max(0, num_tokens - NUM_AT_CUT)
                if num_found > enough:
                    break
        return num_found

    def _check_size(self, text: str) -> None:
        num_tokens = self.count_at_least(text, MAX_TOKENS)
        if num_tokens > MAX_TOKENS:
            raise InvalidRequestError(
                f"a text of {len(text)} characters has at least {num_tokens} tokens; at most "
                f"{MAX_TOKENS} can be made at once"
            )

    def _run(self, texts: Sequence[str], read: Callable[[Any], list[T]]) -> list[T]:
        bare = [single_spaces(text) if self._has_words_only else text for text in texts]
        raws = [_to_utf8(text) for text in bare]
        ends = np.cumsum([len(raw) for raw in raws], dtype=np.int32)
        begins = np.concatenate([_ZERO, ends[:-1]])
        joined = np.frombuffer(b"".join(raws), np.uint8)

        def use(request: Any) -> list[T]:
            request.infer([begins, ends, joined])
            return read(request)

        return self._requests.run(use, len(joined))

    def _read(self, request: Any, has_special: bool) -> list[tuple[int, ...]]:
        if self._has_segments:
            return _read_ragged(request, 3 if has_special else 0)
        rows = _read_dense(request)
        if has_special:
            return rows
        return [ids[self._num_prefix : len(ids) - self._num_suffix] for ids in rows]

    def _count(self, request: Any) -> list[int]:
        if self._has_segments:
            begins, ends = (request.get_output_tensor(index).data for index in range(2))
            return list((ends - begins).tolist())
        masks = request.get_output_tensor(1).data
        return list((masks.astype(bool).sum(axis=1) - self._num_prefix - self._num_suffix).tolist())

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


def texts_at_once(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts that are encoded together: so many characters, or one text."""
    start = num_characters = 0
    for index, text in enumerate(texts):
        if index > start and num_characters + len(text) > SLICE_CHARACTERS:
            yield texts[start:index]
            start, num_characters = index, 0
        num_characters += len(text)
    if start < len(texts):
        yield texts[start:]


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
