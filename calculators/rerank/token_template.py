"""Which special tokens stand around one text, and around a pair of texts."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from calculators.chat_template.template_files import read_special_tokens
from calculators.encoders.encoder_service import EncoderRow
from calculators.rerank.model_config import ModelConfig
from server.errors import ModelLoadError

__all__ = ["PLAIN", "Piece", "TextTemplates", "TokenTemplate", "load_templates"]


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

    def fill(self, first: Sequence[int], second: Sequence[int] = ()) -> EncoderRow:
        """The row of two texts, or of one."""
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
        return EncoderRow(tuple(token_ids), tuple(type_ids))


@dataclass(frozen=True)
class TextTemplates:
    """The templates of one text and of two."""

    single: TokenTemplate
    pair: TokenTemplate


PLAIN = TextTemplates(
    TokenTemplate((Piece("A"),)), TokenTemplate((Piece("A"), Piece("B", type_id=1)))
)

Encode = Callable[[str], Sequence[int]]


def load_templates(models_path: Path, config: ModelConfig, encode: Encode) -> TextTemplates:
    """The templates that the tokenizer of a model folder has.

    They are the post-processor of tokenizer.json. A folder without that file gets OpenVINO Model
    Server's pair: BOS query EOS SEP document EOS. `encode` turns the name of a special token into
    its id. Raises ModelLoadError.
    """
    path = models_path / "tokenizer.json"
    if not path.is_file():
        return _templates_of_names(models_path, config, encode)
    try:
        processor = json.loads(path.read_text(encoding="utf-8")).get("post_processor")
        return PLAIN if processor is None else _templates_of(processor)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: cannot be read: {error}") from error
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ModelLoadError(
            f"{path}: its post_processor is none of the known ones "
            f"({type(error).__name__}: {error})"
        ) from error


def _templates_of(processor: Mapping[str, Any]) -> TextTemplates:
    """Those of a post-processor as the library `tokenizers` writes it."""
    match processor["type"]:
        case "TemplateProcessing":
            single, pair = (
                TokenTemplate(
                    tuple(_piece(item, processor["special_tokens"]) for item in processor[name])
                )
                for name in ("single", "pair")
            )
            return TextTemplates(single, pair)
        case "BertProcessing":
            cls, sep = ((int(processor[name][1]),) for name in ("cls", "sep"))
            return _berts(cls, sep)
        case "RobertaProcessing":
            cls, sep = ((int(processor[name][1]),) for name in ("cls", "sep"))
            return _robertas(cls, sep, sep)
        case "Sequence":
            found = [_templates_of(inner) for inner in processor["processors"]]
            return next((t for t in found if t.pair.num_special), PLAIN)
        case "ByteLevel":
            return PLAIN
        case other:
            raise KeyError(other)


def _piece(item: Mapping[str, Any], tokens: Mapping[str, Any]) -> Piece:
    ((kind, value),) = item.items()
    type_id = int(value["type_id"])
    if kind == "Sequence":
        return Piece("A" if value["id"] == "A" else "B", type_id)
    return Piece(tuple(int(i) for i in tokens[value["id"]]["ids"]), type_id)


def _berts(cls: tuple[int, ...], sep: tuple[int, ...]) -> TextTemplates:
    single = Piece(cls), Piece("A"), Piece(sep)
    return TextTemplates(
        TokenTemplate(single), TokenTemplate((*single, Piece("B", 1), Piece(sep, 1)))
    )


def _robertas(bos: tuple[int, ...], eos: tuple[int, ...], sep: tuple[int, ...]) -> TextTemplates:
    single = Piece(bos), Piece("A"), Piece(eos)
    return TextTemplates(
        TokenTemplate(single), TokenTemplate((*single, Piece(sep), Piece("B"), Piece(eos)))
    )


def _templates_of_names(models_path: Path, config: ModelConfig, encode: Encode) -> TextTemplates:
    """Model Server's rule; a tokenizer without a BOS token gets BERT's pair."""
    names = read_special_tokens(models_path)

    def find(*kinds: str) -> tuple[int, ...]:
        for kind in kinds:
            # An id of 0 counts as unset.
            token_id = config.members.get(f"{kind}_token_id")
            if isinstance(token_id, int) and token_id > 0:
                return (token_id,)
            if f"{kind}_token" in names:
                return tuple(encode(names[f"{kind}_token"]))
        return ()

    bos, eos, sep = find("bos", "cls"), find("eos", "sep"), find("sep", "eos")
    is_bert = "bos_token" not in names and "cls_token" in names
    return _berts(bos, eos) if is_bert else _robertas(bos, eos, sep)
