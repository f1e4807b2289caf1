"""What the JSON files beside an encoder say of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from server.errors import ModelLoadError, describe_value

__all__ = ["EncoderConfig", "read_json", "read_json_list"]

# In the order in which Model Server looks for them.
LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "seq_len",
    "seq_length",
    "n_ctx",
    "sliding_window",
)
DEFAULT_MAX_LENGTH = 1024
MAX_FILE_BYTES = 2**24

# Their position table begins after the padding token: 514 entries are positions 2 to 513.
WITH_RESERVED_POSITIONS = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """`max_length` is the most tokens of a text, special tokens included.

    `is_causal` says that a token sees only those before it. `vocab_size` is None if unknown.
    """

    max_length: int
    pad_token_id: int
    vocab_size: int | None
    is_causal: bool

    @classmethod
    def read(cls, folder: Path, default_max_length: int = DEFAULT_MAX_LENGTH) -> "EncoderConfig":
        """Read them; a file that is not there says nothing. Raises ModelLoadError.

        `default_max_length` is taken if config.json names no length.
        """
        config = read_json(folder / "config.json")
        sentence = read_json(folder / "sentence_bert_config.json")
        tokenizer = read_json(folder / "tokenizer_config.json")
        pad_token_id = _natural(config.get("pad_token_id"))
        if pad_token_id is None:
            pad_token_id = _pad_token_of_tokenizer(tokenizer)
        architectures = config.get("architectures")
        return cls(
            max_length=_max_length(config, sentence, tokenizer, pad_token_id, default_max_length),
            pad_token_id=pad_token_id,
            vocab_size=_natural(config.get("vocab_size")),
            is_causal="ForCausalLM" in str(architectures)
            and not config.get("use_bidirectional_attention"),
        )


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a file, empty if there is no file. Raises ModelLoadError."""
    return cast(Mapping[str, Any], _read(path, dict))


def read_json_list(path: Path) -> Sequence[Any]:
    """The list in a file, empty if there is no file. Raises ModelLoadError."""
    return cast(Sequence[Any], _read(path, list))


def _read(path: Path, kind: type) -> object:
    try:
        with path.open("rb") as file:
            found: object = json.loads(file.read(MAX_FILE_BYTES))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(found, kind):
        expected = "an object" if kind is dict else "a list"
        raise ModelLoadError(f"{path}: holds {describe_value(found)}; it must be {expected}")
    return found


def _max_length(
    config: Mapping[str, Any],
    sentence: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    pad_token_id: int,
    default_max_length: int,
) -> int:
    """As Model Server and sentence-transformers have it: the smallest of what the files say."""
    lengths = [_natural(config.get(key)) for key in LENGTH_KEYS]
    of_config = next((length for length in lengths if length), None)
    if of_config is not None:
        of_config -= _num_reserved(str(config.get("model_type")), of_config, pad_token_id)
    known = [
        of_config or default_max_length,
        _natural(sentence.get("max_seq_length")),
        # Very large where the tokenizer's authors did not know it.
        _natural(tokenizer.get("model_max_length")) if of_config else None,
    ]
    return min(length for length in known if length)


def _num_reserved(model_type: str, num_positions: int, pad_token_id: int) -> int:
    reserved = pad_token_id + 1
    # Models with code of their own do the same, and say so only by their odd number: 8194.
    is_odd = pad_token_id == 1 and num_positions % 512 == reserved
    return reserved if model_type in WITH_RESERVED_POSITIONS or is_odd else 0


def _pad_token_of_tokenizer(tokenizer: Mapping[str, Any]) -> int:
    pad_token = tokenizer.get("pad_token")
    if isinstance(pad_token, Mapping):
        pad_token = pad_token.get("content")
    added = tokenizer.get("added_tokens_decoder")
    for token_id, token in added.items() if isinstance(added, Mapping) else ():
        is_it = isinstance(token, Mapping) and token.get("content") == pad_token
        if is_it and token_id.isdecimal():
            return int(token_id)
    return 0


def _natural(value: object) -> int | None:
    """The value if it is a whole number from 0; numbers like 1e30 are whole, too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None
