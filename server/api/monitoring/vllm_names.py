"""The metrics of models with an engine, as families under the names of vLLM."""

import time
from collections.abc import Iterator, Mapping

from server.api.monitoring.exposition import Family, label_text
from server.api.monitoring.vllm_metrics import VLLM_METRICS, Metric, Value
from server.host.metrics import EngineNumbers, Histogram

__all__ = ["vllm_families"]


def vllm_families(engines: Mapping[str, EngineNumbers]) -> Iterator[Family]:
    """Every family, with one series for each model; the order of models is the caller's."""
    labels = {name: label_text({"model_name": name, "engine": "0"}) for name in engines}
    yield _cache_config(engines, labels)
    yield _adapters(engines)
    for metric in VLLM_METRICS:
        family = Family(metric.name, metric.kind, metric.description)
        for name, engine in engines.items():
            _add(family, labels[name], metric, metric.read(engine))
        yield family


def _add(family: Family, labels: str, metric: Metric, value: Value) -> None:
    if isinstance(value, Histogram):
        family.add_histogram(labels, value)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            family.add(f'{labels},{metric.label}="{key}"', each)
    elif value is not None:
        family.add(labels, value)


def _adapters(engines: Mapping[str, EngineNumbers]) -> Family:
    """The time, in seconds since 1970; routers read the labels. Without adapters it has no series.

    As many adapters as are loaded can run at once.
    """
    family = Family("vllm:lora_requests_info", "gauge", "The adapters at work, in its labels")
    found = [engine.load.adapters for engine in engines.values()]
    for adapters in dict.fromkeys(each for each in found if each is not None):
        names = {
            "max_lora": str(adapters.num_loaded),
            "running_lora_adapters": ",".join(adapters.running),
            "waiting_lora_adapters": ",".join(adapters.waiting),
        }
        family.add(label_text(names), round(time.time(), 3))
    return family


def _cache_config(engines: Mapping[str, EngineNumbers], labels: Mapping[str, str]) -> Family:
    """Always 1; routers read the labels."""
    family = Family("vllm:cache_config_info", "gauge", "The KV cache of an engine, in its labels")
    for name, engine in engines.items():
        load = engine.load
        if load.num_blocks:
            config = {
                "block_size": str(load.block_size),
                "num_gpu_blocks": str(load.num_blocks),
                "num_cpu_blocks": "0",
                "enable_prefix_caching": str(load.enable_prefix_caching),
            }
            family.add(f"{labels[name]},{label_text(config)}", 1)
    return family
