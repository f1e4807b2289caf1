"""Which special tokens stand around one text, and around a pair of texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from calculators.chat_template.template_files import read_special_tokens
from calculators.rerank.model_config import ModelConfig
from server.errors import ModelLoadError

__all__ = ["Piece", "TokenRow", "TokenTemplate", "load_pair_template"]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """The tokens of one row of a model's inputs, and the type of each token."""

    token_ids: tuple[int, ...]
    type_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Special tokens, or the place of the first (A) or second (B) text."""

    content: tuple[int, ...] | Literal["A", "B"]
    type_id: int = 0


@dataclass(frozen=True)
class TokenTemplate:
    """The pieces of a row in order."""

    pieces: tuple[Piece, ...]

    @property
    def num_special(self) -> int:
        """How many tokens of a row are none of its texts."""
        return sum(len(p.content) for p in self.pieces if not isinstance(p.content, str))

    def fill(self, first: Sequence[int], second: Sequence[int]) -> TokenRow:
        """The row of two texts."""
        token_ids: list[int] = []
        type_ids: list[int] = []
        for piece in self.pieces:
            match piece.content:
                case "A":
                    tokens = first
                case "B":
                    tokens = second
                case _:
                    tokens = piece.content
            token_ids.extend(tokens)
            type_ids.extend([piece.type_id] * len(tokens))
        return TokenRow(tuple(token_ids), tuple(type_ids))


PLAIN_PAIR = TokenTemplate((Piece("A", 0), Piece("B", 1)))

Encode = Callable[[str], Sequence[int]]


def load_pair_template(models_path: Path, config: ModelConfig, encode: Encode) -> TokenTemplate:
    """The template that the tokenizer of a model folder has for pairs of texts.

    It is the post-processor of tokenizer.json. A folder without that file gets OpenVINO Model
    Server's: BOS query EOS SEP document EOS. `encode` turns the name of a
    special token into its id. Raises ModelLoadError.
    """
    path = models_path / "tokenizer.json"
    if not path.is_file():
        return _template_of_names(models_path, config, encode)
    try:
        processor = json.loads(path.read_text(encoding="utf-8")).get("post_processor")
        return _template_of(processor)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: cannot be read: {error}") from error
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ModelLoadError(
            f"{path}: its post_processor is none of the known ones "
            f"({type(error).__name__}: {error})"
        ) from error


def _template_of(processor: Mapping[str, Any] | None) -> TokenTemplate:
    """The pair of a post-processor as the library `tokenizers` writes it."""
    match None if processor is None else processor["type"]:
        case "TemplateProcessing":
            assert processor is not None
            tokens = processor["special_tokens"]
            return TokenTemplate(tuple(_piece(item, tokens) for item in processor["pair"]))
        case "BertProcessing":
            assert processor is not None
            cls, sep = ((int(processor[name][1]),) for name in ("cls", "sep"))
            return TokenTemplate((Piece(cls), Piece("A"), Piece(sep), Piece("B", 1), Piece(sep, 1)))
        case "RobertaProcessing":
            assert processor is not None
            cls, sep = ((int(processor[name][1]),) for name in ("cls", "sep"))
            return TokenTemplate(
                (Piece(cls), Piece("A"), Piece(sep), Piece(sep), Piece("B"), Piece(sep))
            )
        case "Sequence":
            assert processor is not None
            found = [_template_of(inner) for inner in processor["processors"]]
            return next((t for t in found if t.num_special), PLAIN_PAIR)
        case "ByteLevel" | None:
            return PLAIN_PAIR
        case other:
            raise KeyError(other)


def _piece(item: Mapping[str, Any], tokens: Mapping[str, Any]) -> Piece:
    ((kind, value),) = item.items()
    type_id = int(value["type_id"])
    if kind == "Sequence":
        return Piece("A" if value["id"] == "A" else "B", type_id)
    return Piece(tuple(int(i) for i in tokens[value["id"]]["ids"]), type_id)


def _template_of_names(models_path: Path, config: ModelConfig, encode: Encode) -> TokenTemplate:
    """Model Server's rule; a tokenizer without a BOS token gets BERT's pair."""
    names = read_special_tokens(models_path)

    def find(*kinds: str) -> tuple[int, ...]:
        for kind in kinds:
            # An id of 0 counts as unset.
            if isinstance(token_id := config.members.get(f"{kind}_token_id"), int) and token_id > 0:
                return (token_id,)
            if f"{kind}_token" in names:
                return tuple(encode(names[f"{kind}_token"]))
        return ()

    bos, eos, sep = find("bos", "cls"), find("eos", "sep"), find("sep", "eos")
    if "bos_token" not in names and "cls_token" in names:
        return TokenTemplate((Piece(bos), Piece("A"), Piece(eos), Piece("B", 1), Piece(eos, 1)))
    return TokenTemplate((Piece(bos), Piece("A"), Piece(eos), Piece(sep), Piece("B"), Piece(eos)))
