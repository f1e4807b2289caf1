"""The numbers of graphs: each node, and the requests of models without an engine."""

from collections.abc import Iterator, Sequence

from server.api.monitoring.exposition import Family, label_text
from server.models.model_manager import ServedModel

__all__ = ["node_families"]


def node_families(models: Sequence[ServedModel]) -> Iterator[Family]:
    """The requests in each node of the models that are loaded; versions of a model are added up."""
    calls = Family("server:node_calls_total", "counter", "Requests that began in a node of a graph")
    errors = Family("server:node_errors_total", "counter", "Requests that failed in a node")
    running = Family("server:node_requests", "gauge", "Requests that are in a node now")
    seconds = Family(
        "server:node_seconds_total", "counter", "Time that requests have spent in a node"
    )
    waiting = Family(
        "server:node_waiting_seconds_total",
        "counter",
        "The part of it in which the node waited for the nodes before it",
    )
    graphs = Family(
        "server:graph_requests",
        "gauge",
        "Requests that are in the graph of a model",
    )
    for name, versions in _by_name(models).items():
        graphs.add(label_text({"model": name}), sum(model.num_running for model in versions))
        nodes = [model.numbers.nodes for model in versions]
        for node in dict.fromkeys(node for each in nodes for node in tuple(each)):
            labels = label_text({"model": name, "node": node})
            found = [each[node] for each in nodes if node in each]
            calls.add(labels, sum(numbers.num_calls for numbers in found))
            errors.add(labels, sum(numbers.num_errors for numbers in found))
            running.add(labels, sum(numbers.num_running for numbers in found))
            seconds.add(labels, sum(numbers.seconds for numbers in found))
            waiting.add(labels, sum(numbers.waiting_s for numbers in found))
    yield from (graphs, calls, errors, running, seconds, waiting)


def _by_name(models: Sequence[ServedModel]) -> dict[str, list[ServedModel]]:
    found: dict[str, list[ServedModel]] = {}
    for model in models:
        if model.is_loaded:
            found.setdefault(model.name, []).append(model)
    return found
