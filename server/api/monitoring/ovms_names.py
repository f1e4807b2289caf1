"""The metrics of OpenVINO Model Server, under its names and with its labels."""

from collections.abc import Iterator, Mapping, Sequence

from server.api.monitoring.exposition import Family, label_text
from server.api.monitoring.ovms_numbers import OVMS, RunKey, RunNumbers
from server.host.metrics import Histogram
from server.host.metrics.inferences import INFERENCES, OVMS_BOUNDS_US
from server.models.model_manager import ServedModel

__all__ = ["OVMS_METRICS", "ovms_families"]

OVMS_METRICS: Mapping[str, tuple[str, str]] = {
    "ovms_graph_loaded": ("gauge", "Whether the model is in memory: 1, or 0"),
    "ovms_current_graphs": ("gauge", "Requests that are in the graph now"),
    "ovms_current_requests": ("gauge", "Requests to a model without a graph that run now"),
    "ovms_streams": ("gauge", "Inferences of the model that can run at once"),
    "ovms_infer_req_queue_size": ("gauge", "Infer requests of the model"),
    "ovms_infer_req_active": ("gauge", "Infer requests that are in use"),
    "ovms_requests_success": ("counter", "Requests to a model without a graph that succeeded"),
    "ovms_requests_fail": ("counter", "Requests to a model without a graph that failed"),
    "ovms_requests_accepted": ("counter", "Requests that entered a graph"),
    "ovms_requests_rejected": ("counter", "Requests that a graph did not take"),
    "ovms_responses": ("counter", "Answers of a graph; each part of a stream is one"),
    "ovms_graph_error": ("counter", "Requests that failed in a graph"),
    "ovms_request_time_us": ("histogram", "Time of a request to a model without a graph"),
    "ovms_graph_processing_time_us": ("histogram", "Time of a request in a graph"),
    "ovms_inference_time_us": ("histogram", "Time of an inference"),
    "ovms_wait_for_infer_req_time_us": ("histogram", "Time that an inference waited for its turn"),
}
"""Kind and meaning by name; the names of counters do not end in _total there either."""


class _Families:
    """The families that are shown; to add to another one has no effect."""

    def __init__(self) -> None:
        self.by_name = {
            name: Family(name, kind, description)
            for name, (kind, description) in OVMS_METRICS.items()
            if name in OVMS.names
        }

    def add(self, name: str, labels: Mapping[str, str], value: float | Histogram) -> None:
        family = self.by_name.get(name)
        if family is None:
            return
        # In the order of the alphabet, as there.
        text = label_text(dict(sorted(labels.items())))
        if isinstance(value, Histogram):
            family.add_histogram(text, value)
        else:
            family.add(text, value)


def ovms_families(models: Sequence[ServedModel]) -> Iterator[Family]:
    """The metrics that are asked for; those of requests only of models that are loaded."""
    families = _Families()
    by_name: dict[str, list[ServedModel]] = {}
    for model in models:
        by_name.setdefault(model.name, []).append(model)
    runs = OVMS.forget_all_but(by_name) if OVMS.is_on else {}
    for name, versions in by_name.items():
        loaded = [model for model in versions if model.is_loaded]
        families.add("ovms_graph_loaded", {"name": name}, bool(loaded))
        if not loaded:
            continue
        own = {key: numbers for key, numbers in runs.items() if key.name == name}
        if loaded[-1].is_classic:
            _add_classic(families, loaded, own)
        else:
            num_running = sum(model.num_running for model in loaded)
            families.add("ovms_current_graphs", {"name": name}, num_running)
            _add_graph(families, own)
    yield from families.by_name.values()


def _add_classic(
    families: _Families, loaded: Sequence[ServedModel], runs: Mapping[RunKey, RunNumbers]
) -> None:
    """A model without a graph; versions are added up under the newest one."""
    name = loaded[-1].name
    labels = {"name": name, "version": loaded[-1].version}
    families.add("ovms_current_requests", labels, sum(model.num_running for model in loaded))
    times: dict[str, Histogram] = {}
    for key, numbers in runs.items():
        of_run = {**labels, "api": key.api, "interface": key.interface, "method": key.method}
        families.add("ovms_requests_success", of_run, numbers.num_accepted - numbers.num_errors)
        families.add("ovms_requests_fail", of_run, numbers.num_rejected + numbers.num_errors)
        times.setdefault(key.interface, Histogram(OVMS_BOUNDS_US)).add(numbers.times_us)
    for interface, histogram in times.items():
        families.add("ovms_request_time_us", {**labels, "interface": interface}, histogram)
    inferences = INFERENCES.by_model().get(name)
    if inferences is not None:
        families.add("ovms_streams", labels, inferences.num_requests)
        families.add("ovms_infer_req_queue_size", labels, inferences.num_requests)
        families.add("ovms_infer_req_active", labels, inferences.num_active)
        families.add("ovms_inference_time_us", labels, inferences.inferences_us)
        families.add("ovms_wait_for_infer_req_time_us", labels, inferences.waits_us)


def _add_graph(families: _Families, runs: Mapping[RunKey, RunNumbers]) -> None:
    times: dict[str, Histogram] = {}
    for key, numbers in runs.items():
        labels = key._asdict()
        families.add("ovms_requests_accepted", labels, numbers.num_accepted)
        families.add("ovms_requests_rejected", labels, numbers.num_rejected)
        families.add("ovms_responses", labels, numbers.num_responses)
        families.add("ovms_graph_error", labels, numbers.num_errors)
        times.setdefault(key.method, Histogram(OVMS_BOUNDS_US)).add(numbers.times_us)
    for method, histogram in times.items():
        name = next(iter(runs)).name
        families.add("ovms_graph_processing_time_us", {"name": name, "method": method}, histogram)
