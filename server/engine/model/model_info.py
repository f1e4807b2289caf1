"""What a model folder's JSON files say: context length, end tokens, default sampling."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import InvalidRequestError, ModelLoadError
from server.payloads import SamplingFields, SamplingParams

CONTEXT_LENGTH_KEYS = (
    "max_position_embeddings",
    "max_seq_len",
    "n_positions",
    "seq_len",
    "seq_length",
    "n_ctx",
    "sliding_window",
)
# generation_config.json's name -> ours.
DEFAULT_SAMPLING_KEYS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "bad_words_ids": "bad_word_ids",
    "num_assistant_tokens": "num_assistant_tokens",
    "max_ngram_size": "max_ngram_size",
    "assistant_confidence_threshold": "assistant_confidence_threshold",
}
INTEGER_KEYS = (
    "top_k",
    "max_new_tokens",
    "min_new_tokens",
    "num_assistant_tokens",
    "max_ngram_size",
)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """`max_model_len` is the context in tokens, None where the folder does not say."""

    max_model_len: int | None
    eos_token_ids: frozenset[int]
    sampling_defaults: SamplingFields


def read_model_info(models_path: Path) -> ModelInfo:
    """Read config.json and generation_config.json; both may be missing.

    Raises ModelLoadError for a file that is not a JSON object or holds an unusable value.
    """
    config = read_config(models_path / "config.json")
    layers = config_layers(config)
    generation = read_config(models_path / "generation_config.json")
    return ModelInfo(
        max_model_len=context_length(config),
        eos_token_ids=_eos_token_ids([generation, *layers], models_path),
        sampling_defaults=_sampling_defaults(
            generation, models_path, has_encoder=bool(config.get("is_encoder_decoder"))
        ),
    )


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none. Raises ModelLoadError."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError) as error:
        raise ModelLoadError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path}: found {type(value).__name__}, expected a JSON object")
    return value


def config_layers(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """config.json, then what it says of the text model alone, if it has such a part."""
    nested = config.get("text_config")
    return [config, nested] if isinstance(nested, dict) else [config]


def context_length(config: Mapping[str, Any]) -> int | None:
    """The longest text in tokens; None where config.json does not say."""
    return _first_int(config_layers(config), CONTEXT_LENGTH_KEYS)


def longrope_switch(config: Mapping[str, Any]) -> int | None:
    """The length above which a model with longrope uses its long factors; else None."""
    scaling = config.get("rope_parameters") or config.get("rope_scaling")
    if not (isinstance(scaling, dict) and _rope_type(scaling) in ("longrope", "su")):
        return None
    return _first_int([config, scaling], ("original_max_position_embeddings",))


def _rope_type(scaling: dict[str, Any]) -> object:
    return scaling.get("rope_type", scaling.get("type"))


def _first_int(layers: Sequence[Mapping[str, Any]], keys: tuple[str, ...]) -> int | None:
    for layer in layers:
        for key in keys:
            value = layer.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _eos_token_ids(layers: Sequence[Mapping[str, Any]], models_path: Path) -> frozenset[int]:
    for layer in layers:
        value = layer.get("eos_token_id")
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
            raise ModelLoadError(
                f"{models_path}: eos_token_id is {value!r}; it must be an integer or a list of them"
            )
        return frozenset(ids)
    return frozenset()


def _sampling_defaults(
    generation: Mapping[str, Any], models_path: Path, has_encoder: bool
) -> SamplingFields:
    found = SamplingFields()
    if has_encoder and not generation.get("do_sample"):
        # Translations and summaries are not drawn at random unless the file says so.
        found["temperature"] = 0.0
        generation = {**generation, "temperature": None}
    for key, name in DEFAULT_SAMPLING_KEYS.items():
        if generation.get(key) is not None:
            found[name] = generation[key]  # type: ignore[literal-required]  # one of the fields
    try:
        for key in INTEGER_KEYS:
            value = generation.get(key)
            if not (value is None or type(value) is int):
                raise TypeError(f"{key} is {value!r}; it must be an integer")
        # In Hugging Face's files 0 keeps all tokens.
        if found.get("top_k") == 0:
            found["top_k"] = -1
        if found.get("num_assistant_tokens"):
            found.pop("assistant_confidence_threshold", None)
        if "bad_word_ids" in found:
            found["bad_word_ids"] = tuple(map(tuple, found["bad_word_ids"]))
        SamplingParams(**found)
    except (TypeError, InvalidRequestError) as error:
        raise ModelLoadError(f"{models_path / 'generation_config.json'}: {error}") from error
    return found
