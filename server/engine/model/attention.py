"""Sets what OpenVINO's PagedAttention transformation drops: ALiBi slopes and local windows.

The transformation (SDPAToPagedAttention) replaces the attention mask of a model. It understands
BLOOM's ALiBi and the sliding windows of transformers' usual masks. It drops all else without an
error, and the model would answer wrongly. Here config.json says what each layer needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from server.engine.model.load_check.alibi import alibi_slopes, asks_for_alibi
from server.engine.model.load_check.check import check_attention
from server.engine.model.load_check.declared import declared_layers
from server.engine.model.load_check.exact_frequencies import restore_frequencies
from server.engine.model.load_check.graph import (
    CHUNK_PREFIX,
    SLOPES,
    WINDOW,
    attention_operations,
    is_empty,
    layer_of,
)
from server.engine.model.model_info import config_layers, context_length, longrope_switch
from server.engine.model.own_positions import find_uses_of_longest, use_own_positions
from server.engine.model.rope_switch import choose_rope_by_token
from server.errors import ModelLoadError

__all__ = [
    "CHUNK_PREFIX",
    "PLAIN_ATTENTION",
    "AttentionForm",
    "NotExpressibleError",
    "complete_attention",
]

Config = Mapping[str, Any]

# The inputs that say where sequences and their blocks are; chunked layers get their own.
PLACES = {
    5: "past_lens",
    6: "subsequence_begins",
    7: "block_indices",
    8: "block_indices_begins",
    12: "max_context_len",
}
BLOCKS_DIVIDE = 32

# Kinds of models of which the transformation drops ALiBi, or the windows.
LOSE_SLOPES = frozenset({"falcon", "mpt"})
LOSE_WINDOWS = frozenset({"gpt_neo", "phimoe", "qwen2_moe"})


@dataclass(frozen=True, slots=True)
class AttentionForm:
    """What a model needs to be told of a step beyond what every model is told.

    Layers with chunked attention see only the tokens of their own chunk of `chunk_size`. Sequences
    of more than `long_after` tokens use the long factors of longrope. Answers are right up to
    `context_limit` tokens. None stands for a model without such a thing.
    """

    chunk_size: int | None = None
    long_after: int | None = None
    context_limit: int | None = None


PLAIN_ATTENTION = AttentionForm()


class NotExpressibleError(Exception):
    """PagedAttention cannot do what the model needs; the message says what that is."""


def complete_attention(
    model: ov.Model, config: Config, *, sets_windows: bool = False
) -> AttentionForm:
    """Give a model the attention that config.json asks for and the transformed graph lacks.

    With `sets_windows` all windows are those of config.json, which the masks were compared with.
    Then compare all of it with config.json. Raises NotExpressibleError for a model that needs more.
    Raises ModelLoadError for a decoder without its encoder, for a graph that differs from
    config.json, and for a config.json that does not say what its kind needs.
    """
    text_config = config_layers(config)[-1]
    try:
        _complete_layers(model, config, sets_windows)
        form = _complete(model, text_config)
        limits = (form.context_limit, context_length(config))
        context = min((length for length in limits if length is not None), default=None)
        restore_frequencies(model, text_config)
        check_attention(model, text_config, form.chunk_size, context)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelLoadError(
            f"config.json does not describe the attention of a {config.get('model_type')!r} model: "
            f"{type(error).__name__}: {error}"
        ) from error
    return form


def _complete(model: ov.Model, config: Config) -> AttentionForm:
    use_own_positions(model)
    long_after = longrope_switch(config)
    limits = []
    chunk_size: int | None = None
    chunked = _chunked_operations(model, config)
    if chunked:
        chunk_size = int(config["attention_chunk_size"])
        if chunk_size % BLOCKS_DIVIDE:
            limits.append(chunk_size)
            chunk_size = None
        else:
            _cut_into_chunks(model, chunked)
    if long_after is not None and not choose_rope_by_token(model):
        limits.append(long_after)
        long_after = None
    elif uses := find_uses_of_longest(model):
        raise NotExpressibleError(
            f"its PagedAttention form computes more than attention from the longest sequence of a "
            f"step, with {', '.join(uses)}: one request would change the answers to others"
        )
    return AttentionForm(chunk_size, long_after, min(limits, default=None))


def _complete_layers(model: ov.Model, config: Config, sets_windows: bool) -> None:
    if config.get("is_encoder_decoder"):
        raise ModelLoadError(
            "config.json says is_encoder_decoder, but the folder holds only a decoder; "
            "export the whole model again with export_model"
        )
    model_type = config.get("model_type")
    operations = attention_operations(model)
    if asks_for_alibi(config):
        slopes = alibi_slopes(config)
        for operation in operations:
            if slopes is not None and model_type in LOSE_SLOPES:
                _set(operation, SLOPES, slopes)
            elif slopes is None and is_empty(operation.input_value(SLOPES)):
                raise NotExpressibleError(
                    f"config.json asks for ALiBi, which the graph of a {model_type!r} model loses "
                    "in its PagedAttention form"
                )
    if sets_windows or model_type in LOSE_WINDOWS:
        layers = declared_layers(config, len(operations))
        for operation in operations:
            if window := layers[layer_of(operation)].window:
                _set(operation, WINDOW, np.int32(window))


def _chunked_operations(model: ov.Model, config: Config) -> Sequence[ov.Node]:
    operations = attention_operations(model)
    if not config.get("attention_chunk_size"):
        return ()
    layers = declared_layers(config, len(operations))
    return [operation for operation in operations if layers[layer_of(operation)].chunk]


def _set(operation: ov.Node, index: int, value: npt.ArrayLike) -> None:
    operation.input(index).replace_source_output(ops.constant(value).output(0))


def _cut_into_chunks(model: ov.Model, chunked: Iterable[ov.Node]) -> None:
    """Give the chunked layers inputs of their own, for sequences that begin at each chunk."""
    places = {}
    for index, name in PLACES.items():
        shape = [] if name == "max_context_len" else [-1]
        places[index] = ops.parameter(shape, ov.Type.i32, name=CHUNK_PREFIX + name)
        places[index].output(0).get_tensor().set_names({CHUNK_PREFIX + name})
    for operation in chunked:
        for index, parameter in places.items():
            operation.input(index).replace_source_output(parameter.output(0))
    model.add_parameters(list(places.values()))
    model.validate_nodes_and_infer_types()
