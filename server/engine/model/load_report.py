"""What the log says about a loaded model: its device, why these properties, and its memory."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.engine.kv.kv_cache import bytes_per_block
from server.engine.kv.state_cache_manager import StateLayout
from server.engine.model.model_loader import LoadedModel
from server.host.model_files import text_model_file

__all__ = ["describe_states", "report_load"]

logger = logging.getLogger(__name__)


def describe_states(model: LoadedModel, layout: StateLayout) -> dict[str, Any]:
    """What operators want to know of the state tables of a model; nothing if it has none."""
    if not model.state_tables:
        return {}
    return {
        "states": {
            "bytes": layout.num_blocks * bytes_per_block(model.state_tables),
            "num_blocks": layout.num_blocks,
            "max_num_seqs": layout.max_num_seqs,
            "checkpoint_interval": layout.interval if layout.least_interval else None,
        }
    }


def report_load(
    models_path: Path,
    model: LoadedModel,
    status: Mapping[str, Any],
    num_blocks: int,
    num_tokens: int,
) -> None:
    """Log a few lines for users; the rest of `status` is for DEBUG.

    `num_blocks` KV blocks hold `num_tokens` tokens.
    """
    logger.info("%s runs on %s; %s", models_path, model.device.name, _properties(status))
    weights = _size(text_model_file(models_path).with_suffix(".bin")) >> 20
    if model.not_paged is not None:
        logger.warning(
            "%s runs on a slower path, without PagedAttention and without a prefix cache: %s. Each "
            "sequence has an infer request of its own. The model takes %d MB for weights; there is "
            "room for %d sequences of up to %d tokens",
            *(models_path, model.not_paged, weights, num_blocks, num_tokens // num_blocks),
        )
    else:
        logger.info(
            "%s takes %d MB for weights and %d MB for the KV cache (%s), which holds %d tokens",
            *(models_path, weights, (num_blocks * bytes_per_block(model.kv_inputs)) >> 20),
            *(model.kv_inputs[0].element_type.get_type_name(), num_tokens),
        )
    if "states" in status:
        states = status["states"]
        interval = states["checkpoint_interval"]
        logger.info(
            "%s takes %d MB more for states (%s) of %d sequences at once; %s",
            *(models_path, states["bytes"] >> 20),
            *(model.state_tables[0].element_type.get_type_name(), states["max_num_seqs"]),
            f"its prefix cache keeps them every {interval} tokens"
            if interval
            else "it has no prefix cache",
        )
    logger.debug("%s: %s", models_path, json.dumps(status))


def _properties(status: Mapping[str, Any]) -> str:
    """The properties that differ from OpenVINO's own, and who chose them."""
    sources = {
        "from plugin_config": status["plugin_config"],
        "measured as fastest here": status["auto_tuned"],
    }
    parts = [
        f"{', '.join(f'{name} {value}' for name, value in properties.items())} ({source})"
        for source, properties in sources.items()
        if properties
    ]
    return " and ".join(parts) or "with OpenVINO's own properties"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # it was replaced just now
        return 0
