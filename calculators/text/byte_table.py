"""What each token adds to a text, as bytes, read once from an openvino_detokenizer.xml."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset15 as ops

from calculators.inference.openvino_ir import InferRequestPool, find_ops, read_tokenizer_ir
from calculators.text.sentencepiece_model import BYTE, CONTROL, parse_pieces
from server.errors import ModelLoadError
from server.host.model_files import DETOKENIZER_FILE

__all__ = ["ByteTable", "load_byte_table"]


@dataclass(frozen=True, slots=True)
class ByteTable:
    """The bytes of each token id, independent of the tokens around it.

    `first_bytes` has the tokens that give other bytes at the start of a text: SentencePiece and
    WordPiece models drop a leading space there. Special tokens add nothing to a text;
    `special_bytes` has their names. A model with padded embeddings can choose ids beyond the
    table: they add nothing either.
    """

    token_bytes: Sequence[bytes]
    first_bytes: Mapping[int, bytes] = field(default_factory=dict)
    special_bytes: Mapping[int, bytes] = field(default_factory=dict)

    def lookup(self, token_id: int) -> bytes:
        """Return what the token adds after other text."""
        return self.token_bytes[token_id] if token_id < len(self.token_bytes) else b""

    def lookup_first(self, token_id: int) -> bytes:
        """Return what the token adds at the start of a text."""
        first = self.first_bytes.get(token_id)
        return self.lookup(token_id) if first is None else first

    def showing(self, names: Collection[str]) -> "ByteTable":
        """Return a table in which these special tokens add their names to a text."""
        wanted = {name.encode() for name in names}
        shown = {i: raw for i, raw in self.special_bytes.items() if raw in wanted}
        if not shown:
            return self
        token_bytes = list(self.token_bytes)
        for token_id, raw in shown.items():
            token_bytes[token_id] = raw
        first_bytes = {i: raw for i, raw in self.first_bytes.items() if i not in shown}
        # The names of WordPiece models have the space before them.
        first_bytes |= {i: raw.lstrip() for i, raw in shown.items() if raw.startswith(b" ")}
        return replace(self, token_bytes=token_bytes, first_bytes=first_bytes)

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of whole tokens, without the special ones."""
        pieces: list[bytes] = []
        is_first = True
        for token_id in token_ids:
            pieces.append(self.lookup_first(token_id) if is_first else self.lookup(token_id))
            is_first = is_first and not self.lookup(token_id)
        return b"".join(pieces).decode("utf-8", "replace")


def load_byte_table(models_path: Path) -> ByteTable:
    """Build the table by decoding every id twice with the detokenizer.

    Decoded alone, an id gives its bytes at the start of a text. Decoded after an anchor token, it
    gives its bytes anywhere else: those behind the text of the anchor.
    """
    path = models_path / DETOKENIZER_FILE
    model = read_tokenizer_ir(path, "the detokenizer")
    vocabulary = _read_vocabulary(model, path)
    requests = InferRequestPool(_with_byte_output(model))
    ids = np.arange(vocabulary.size, dtype=np.int64)
    first = _decode_rows(requests, ids[:, None])
    anchor = _find_anchor(first, path)
    rows = _decode_rows(requests, np.stack([np.full_like(ids, anchor), ids], axis=1))
    prefix = first[anchor]
    if not all(row.startswith(prefix) for row in rows):
        raise ModelLoadError(
            f"{path}: a token changes the text of the token before it, so that text cannot be "
            "streamed; convert the tokenizer again with `convert_tokenizer --with-detokenizer`"
        )
    token_bytes = [row[len(prefix) :] for row in rows]
    for token_id, raw in vocabulary.raw_bytes.items():
        first[token_id] = token_bytes[token_id] = raw
    return ByteTable(
        token_bytes,
        {i: alone for i, alone in enumerate(first) if alone != token_bytes[i]},
        vocabulary.special_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """`raw_bytes` are tokens for single bytes, which the operation cannot decode alone."""

    size: int
    special_bytes: dict[int, bytes]
    raw_bytes: dict[int, bytes]


def _read_vocabulary(model: Any, path: Path) -> _Vocabulary:
    if decoders := find_ops(model, "VocabDecoder"):
        begins, ends, chars = (_constant(decoders[0].input_value(i)) for i in (1, 2, 3))
        data = chars.tobytes()
        special = {i: data[begins[i] : ends[i]] for i in _read_skip_tokens(decoders[0])}
        return _Vocabulary(len(begins), special, {})
    for type_name in ("SentencepieceDetokenizer", "SentencepieceStreamDetokenizer"):
        if detokenizers := find_ops(model, type_name):
            pieces = parse_pieces(_constant(detokenizers[0].input_value(0)).tobytes())
            special = {i: text for i, (text, kind) in enumerate(pieces) if kind == CONTROL}
            raw = {
                i: bytes([int(text[3:5], 16)])
                for i, (text, kind) in enumerate(pieces)
                if kind == BYTE
            }
            return _Vocabulary(len(pieces), special, raw)
    raise ModelLoadError(
        f"{path}: has neither a VocabDecoder nor a SentencepieceDetokenizer operation; a "
        "detokenizer that `convert_tokenizer --with-detokenizer` makes has one of them"
    )


def _read_skip_tokens(decoder: Any) -> list[int]:
    """Return the ids that the detokenizer skips; older exports have them as an attribute."""
    skipped: list[int] = list(decoder.get_attributes().get("skip_tokens", []))
    if decoder.get_input_size() > 4:
        source = decoder.input_value(4)
        if source.get_node().get_type_name() == "Slice":
            stop = int(_constant(source.get_node().input_value(2)).flat[0])
            skipped += _constant(source.get_node().input_value(0))[:stop].tolist()
        else:
            skipped += _constant(source).tolist()
    return skipped


def _constant(output: Any) -> npt.NDArray[Any]:
    data: npt.NDArray[Any] = output.get_node().get_data()
    return data


def _with_byte_output(model: Any) -> Any:
    """Make a model that gives (begins, ends, bytes), without the steps that need a whole text.

    It leaves out the check for valid UTF-8, since a token may end inside a character, and the
    clean-up of spaces before punctuation, since it changes what the model wrote.
    """
    for validate in find_ops(model, "UTF8Validate"):
        _bypass(validate)
    for regex in find_ops(model, "RegexNormalization"):
        if _is_space_clean_up(regex):
            _bypass(regex)
    pack = find_ops(model, "StringTensorPack")[-1]
    results = [ops.result(pack.input_value(index)) for index in range(3)]
    return ov.Model(results, model.get_parameters(), "byte_table")


def _bypass(node: Any) -> None:
    for index in range(3):
        node.output(index).replace(node.input_value(index))


def _is_space_clean_up(regex: Any) -> bool:
    pattern = regex.input_value(regex.get_input_size() - 2).get_node()
    return pattern.get_type_name() == "Constant" and b"(n't)" in pattern.get_data().tobytes()


def _decode_rows(requests: InferRequestPool, rows: npt.NDArray[np.int64]) -> list[bytes]:
    def decode(request: Any) -> list[bytes]:
        request.infer([rows.astype(_input_type(request))])
        begins, ends, chars = (request.get_output_tensor(index).data for index in range(3))
        data = chars.tobytes()
        return [data[i:j] for i, j in zip(begins.tolist(), ends.tolist(), strict=True)]

    return requests.run(decode)


def _input_type(request: Any) -> Any:
    return request.get_input_tensor(0).element_type.to_dtype()


def _find_anchor(texts: list[bytes], path: Path) -> int:
    for token_id, text in enumerate(texts):
        if len(text) == 1 and text.isalnum():
            return token_id
    for token_id, text in enumerate(texts):
        if text.strip() == text and text.isascii() and text:
            return token_id
    raise ModelLoadError(
        f"{path}: no token gives a printable ASCII text, so what tokens add cannot be told"
    )
