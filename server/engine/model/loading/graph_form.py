"""Reads the graph of a model and brings it into the form in which it runs: layers, and a head."""

from dataclasses import dataclass, replace
from pathlib import Path

import openvino as ov
from openvino._offline_transformations import paged_attention_transformation

from server.engine.config import PluginValue
from server.engine.kv.kv_cache import KV_TABLES, STATE_TABLES
from server.engine.model.attention import (
    AttentionForm,
    NotExpressibleError,
    complete_attention,
)
from server.engine.model.loading.files import read_graph
from server.engine.model.model_info import config_layers, read_config, read_model_info
from server.engine.model.output_head import (
    SplitModel,
    cut_off_head,
    num_embeddings,
    split_model,
)
from server.engine.model.state_inputs import STATE_INPUTS
from server.engine.model.stateful.state_form import StateForm, read_state_form
from server.engine.model.stateless.cache_states import add_cache_states, has_cache_states
from server.errors import ModelLoadError
from server.host.model_files import MODEL_FILE, has_encoder, text_model_file
from server.host.openvino_errors import error_summary

__all__ = ["GraphForm", "NotCausalError", "read_form"]

KNOWN_INPUTS = frozenset(
    {
        "input_ids",
        "position_ids",
        "past_lens",
        "subsequence_begins",
        "block_indices",
        "block_indices_begins",
        "max_context_len",
        *STATE_INPUTS,
    }
)


class NotCausalError(ModelLoadError):
    """A graph without a KV cache cannot be given one; it can only run as it was exported."""


@dataclass(frozen=True, slots=True)
class GraphForm:
    """A model in two parts, not compiled yet, and how its attention works.

    In PagedAttention form it has `attention`; else it runs as it was exported, with `states`, and
    `not_paged` says why.
    """

    parts: SplitModel
    attention: AttentionForm | None
    states: StateForm | None = None
    not_paged: str = ""


def read_form(models_path: Path, is_mapped: PluginValue, has_head: bool) -> GraphForm:
    """Read a model, transform it to PagedAttention form if it has one, and split it.

    Without `has_head` its output head is cut off. It may be a decoder that was exported without a
    KV cache: an embedder, or a classifier, whose head gives its scores. Raises ModelLoadError: a
    NotCausalError for another model without a KV cache.
    """
    xml = text_model_file(models_path)
    split = split_model if has_head else cut_off_head
    model = read_graph(xml, is_mapped)
    if has_encoder(models_path):
        reason = "its prompts go to an encoder"
    elif not has_cache_states(model):
        is_classifier = model.outputs[0].get_partial_shape().rank == 2
        model, attention = _with_cache(model, models_path)
        num_tokens = num_embeddings(model, xml)
        parts = split(model, xml)
        if is_classifier:
            parts = replace(parts, num_embeddings=num_tokens)
        return GraphForm(parts, attention)
    else:
        try:
            attention = _transform(model, models_path)
            return GraphForm(split(model, xml), attention)
        except NotExpressibleError as error:
            reason = str(error)
        # The transformation has changed the model, of which there must not be two in memory.
        del model
        model = read_graph(xml, is_mapped)
    states = _read_states(model, models_path, reason)
    return GraphForm(split(model, xml, rows_axis=1), None, states, reason)


def _with_cache(model: ov.Model, models_path: Path) -> tuple[ov.Model, AttentionForm]:
    """The PagedAttention form of a decoder exported without a KV cache. Raises NotCausalError."""
    config = config_layers(read_config(models_path / "config.json"))[-1]
    try:
        model = add_cache_states(model, config)
        return model, _transform(model, models_path, sets_windows=True)
    except (NotExpressibleError, ModelLoadError) as error:
        raise NotCausalError(
            f"{models_path / MODEL_FILE}: not a stateful language model: it has no states, and "
            f"cannot be given any: {error}"
        ) from error


def _read_states(model: ov.Model, models_path: Path, reason: str) -> StateForm:
    """The states of a model that has no paged form for a reason."""
    config = config_layers(read_config(models_path / "config.json"))[-1]
    try:
        return read_state_form(model, config, has_encoder(models_path))
    except ModelLoadError as error:
        raise ModelLoadError(f"{text_model_file(models_path)}: {error} ({reason})") from error


def _transform(model: ov.Model, models_path: Path, *, sets_windows: bool = False) -> AttentionForm:
    """Bring a model into its PagedAttention form. Raises NotExpressibleError if it has none."""
    try:
        paged_attention_transformation(model)
    except RuntimeError as error:
        reason = f"OpenVINO cannot give it that form: {error_summary(error)}"
        raise NotExpressibleError(reason) from error
    # An input may have several names.
    others = [port for port in model.inputs if not port.get_names() & KNOWN_INPUTS]
    names = sorted(port.get_any_name() for port in others)
    unknown = [n for n in names if not n.startswith((*KV_TABLES, *STATE_TABLES))]
    if unknown:
        raise NotExpressibleError(f"its PagedAttention form needs the inputs {', '.join(unknown)}")
    try:
        config = read_config(models_path / "config.json")
        attention = complete_attention(model, config, sets_windows=sets_windows)
    except ModelLoadError as error:
        raise ModelLoadError(f"{models_path / MODEL_FILE}: {error}") from error
    limit, context = attention.context_limit, read_model_info(models_path).max_model_len
    if limit is not None and (context is None or context > limit):
        raise NotExpressibleError(f"its PagedAttention form is right up to {limit} tokens only")
    return attention
