"""The JSON of GET /v1/status: the process, and every model with its graph and its numbers."""

import os
import platform
import time
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any

from server.api.monitoring.history import FIELDS, INTERVAL_S
from server.host.cpu_features import describe_cpu
from server.host.memory import available_bytes, resident_bytes
from server.host.metrics import EngineNumbers
from server.host.version import DISTRIBUTION, version
from server.models.model_manager import ModelManager, ServedModel
from server.payloads import (
    EmbeddingRequest,
    GenerationRequest,
    HttpRequestPayload,
    ImageRequest,
    InferRequest,
    ScoringRequest,
    SpeechRequest,
    TranscriptionRequest,
)

__all__ = ["describe_history", "describe_model", "describe_process"]

STARTED_S = time.monotonic()

TASKS = {
    GenerationRequest.__name__: "text_generation",
    EmbeddingRequest.__name__: "embeddings",
    ScoringRequest.__name__: "rerank",
    ImageRequest.__name__: "image_generation",
    TranscriptionRequest.__name__: "speech2text",
    SpeechRequest.__name__: "text2speech",
    InferRequest.__name__: "inference",
    HttpRequestPayload.__name__: "raw",
}
"""What a graph is for, by the type at its input."""


def describe_process(manager: ModelManager) -> dict[str, Any]:
    """The members of the answer that are about the process, without its models."""
    reason = manager.why_not_ready()
    return {
        "object": "server.status",
        "time": round(time.time(), 3),
        "server": {
            "name": DISTRIBUTION,
            "version": _versions()[DISTRIBUTION],
            "openvino": _versions()["openvino"],
            "python": platform.python_version(),
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - STARTED_S, 1),
            "ready": reason is None,
            "reason": reason,
            "draining": manager.is_closing,
        },
        "cpu": {**describe_cpu(), "used_s": round(time.process_time(), 2)},
        "memory": {"used_bytes": resident_bytes(), "available_bytes": _available_bytes()},
    }


def describe_model(model: ServedModel, engine: EngineNumbers | None) -> dict[str, Any]:
    """A model, its graph as it is configured, and the numbers of its nodes and streams."""
    status = model.status()
    definition = model.definition
    return {
        "name": model.name,
        "version": model.version,
        "state": status["state"],
        "reason": status.get("reason"),
        "loaded": model.is_loaded,
        "task": None if definition is None else TASKS.get(_type_of_input(definition), "other"),
        "aliases": list(model.more_names),
        "created": model.created,
        "residence": {
            name: status[name]
            for name in ("group_name", "memory_bytes", "unloaded")
            if name in status
        },
        "requests": {"total": model.numbers.num_runs, "running": model.num_running},
        "graph": None if definition is None else _graph(model, definition, status.get("nodes", {})),
        "engine": None if engine is None else _engine(engine),
    }


def describe_history(points: str) -> str:
    """JSON text with the points of a model's history, themselves JSON text."""
    names = ",".join(f'"{name}"' for name in FIELDS)
    return f'{{"interval_s":{INTERVAL_S:g},"fields":[{names}],"points":{points}}}'


def _type_of_input(definition: Mapping[str, Any]) -> str:
    types = {stream["name"]: stream["type"] for stream in definition["streams"]}
    return str(types[definition["input_stream"]])


def _graph(
    model: ServedModel, definition: Mapping[str, Any], statuses: Mapping[str, Any]
) -> Mapping[str, Any]:
    waiting = model.count_waiting_packets()
    numbers = model.numbers
    return {
        **definition,
        "streams": [
            {
                **stream,
                "packets": (
                    numbers.streams[stream["name"]].num_packets
                    if stream["name"] in numbers.streams
                    else 0
                ),
                "waiting": waiting.get(stream["name"], 0),
            }
            for stream in definition["streams"]
        ],
        "nodes": [
            {
                **node,
                **_node_numbers(model, node["name"]),
                "status": statuses.get(node["name"], {}),
            }
            for node in definition["nodes"]
        ],
    }


def _node_numbers(model: ServedModel, name: str) -> Mapping[str, float]:
    numbers = model.numbers.nodes.get(name)
    if numbers is None:
        return {"calls": 0, "running": 0, "errors": 0, "seconds": 0.0, "waiting_s": 0.0}
    return {
        "calls": numbers.num_calls,
        "running": numbers.num_running,
        "errors": numbers.num_errors,
        "seconds": round(numbers.seconds, 6),
        "waiting_s": round(numbers.waiting_s, 6),
    }


def _engine(engine: EngineNumbers) -> Mapping[str, Any]:
    stats, load = engine.stats, engine.load
    return {
        "running": load.num_running,
        "waiting": load.num_waiting,
        "max_num_seqs": load.max_num_seqs,
        "max_num_batched_tokens": load.max_num_batched_tokens,
        "max_model_len": load.max_model_len,
        "kv_cache": {
            "usage": round(load.kv_usage, 5),
            "num_blocks": load.num_blocks,
            "num_used_blocks": load.num_used_blocks,
            "block_size": load.block_size,
        },
        "prefix_cache": {
            "enabled": load.enable_prefix_caching,
            "query_tokens": stats.looked_up_tokens,
            "hit_tokens": stats.cached_tokens,
        },
        "speculation": {
            "drafts": stats.num_drafts,
            "draft_tokens": stats.num_draft_tokens,
            "accepted_tokens": stats.num_accepted_tokens,
        },
        "prompt_tokens": stats.prompt_tokens,
        "generated_tokens": stats.generated_tokens,
        "finished": dict(stats.finished),
        "preemptions": stats.preemptions,
        "failed_steps": stats.failed_steps,
        "steps": stats.num_steps,
        "step_tokens": stats.tokens,
        "step_s": round(stats.step_s, 3),
        "infer_s": round(stats.infer_s, 3),
    }


@cache
def _versions() -> Mapping[str, str]:
    try:
        openvino = metadata.version("openvino")
    except metadata.PackageNotFoundError:
        openvino = "not installed"
    return {DISTRIBUTION: version(), "openvino": openvino}


def _available_bytes() -> int | None:
    try:
        return available_bytes()
    except OSError:
        return None
