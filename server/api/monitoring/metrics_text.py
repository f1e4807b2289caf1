"""The whole text of GET /metrics."""

from collections.abc import Iterable, Mapping

from server.api.monitoring.exposition import Family
from server.api.monitoring.http_requests import HttpNumbers
from server.api.monitoring.node_names import node_families
from server.api.monitoring.ovms_names import ovms_families
from server.api.monitoring.vllm_names import vllm_families
from server.host.metrics import ENGINES, EngineNumbers, render_metrics
from server.models.model_manager import ModelManager, ServedModel

__all__ = ["metrics_text"]


def metrics_text(manager: ModelManager, http: HttpNumbers) -> bytes:
    """Every metric of the process. It takes milliseconds, so it has no place on an event loop.

    Models come in the order of the configuration: routers that know no label read the first.
    """
    models = manager.all_models()
    engines = _in_order(ENGINES.by_model(), models)
    families: Iterable[Family] = (
        *vllm_families(engines),
        *node_families(models),
        *http.families(),
        *ovms_families(models),
    )
    lines = [line for family in families for line in family.lines()]
    return "".join(lines).encode() + render_metrics()


def _in_order(
    engines: Mapping[str, EngineNumbers], models: Iterable[ServedModel]
) -> Mapping[str, EngineNumbers]:
    order = dict.fromkeys((*(model.name for model in models), *engines))
    return {name: engines[name] for name in order if name in engines}
