"""Loads the draft model of an engine, and says why it cannot be one."""

from pathlib import Path

from server.engine.config import EngineConfig
from server.engine.model.model_loader import LoadedModel, load_model
from server.errors import ModelLoadError
from server.host.model_files import text_model_file

__all__ = ["load_draft"]

TINY_BYTES = 8 * 2**20
"""A draft model with weights of at most so many bytes runs in one thread."""


def load_draft(config: EngineConfig, model: LoadedModel) -> LoadedModel:
    """Load and compile the draft model of the settings, which is for `model`.

    Raises ModelLoadError for one that cannot be loaded, or has no KV cache of the same blocks.
    """
    draft = config.draft
    assert draft is not None, "the caller has asked"
    config.report_progress("loading the draft model", 0.6)
    device = draft.device or config.device
    # Properties of another device may be unknown to this one.
    properties = config.plugin_config if device == config.device else {}
    if device == "CPU" and _is_tiny(draft.models_path):
        properties = {"INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False, **properties}
    loaded = load_model(draft.models_path, device, properties)
    problem = _find_problem(loaded, model)
    if problem is not None:
        raise ModelLoadError(f"{draft.models_path}: it cannot be a draft model: {problem}")
    return loaded


def _is_tiny(models_path: Path) -> bool:
    """Whether a second thread would gain nothing; waking it up for every step may even cost."""
    weights = text_model_file(models_path).with_suffix(".bin")
    return weights.is_file() and weights.stat().st_size <= TINY_BYTES


def _find_problem(draft: LoadedModel, model: LoadedModel) -> str | None:
    if draft.states is not None or draft.state_tables:
        return (
            f"it has states instead of a KV cache alone ({draft.not_paged or 'linear attention'})"
        )
    if draft.num_embeddings is not None:
        return "it gives no tokens"
    if draft.block_size != model.block_size:
        return (
            f"its KV blocks on {draft.device.name} have {draft.block_size} tokens, those of the "
            f"model on {model.device.name} {model.block_size}; choose the same device"
        )
    return None
