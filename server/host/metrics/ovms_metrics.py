"""The names of Model Server's metrics, which its switches choose from."""

from collections.abc import Iterable

__all__ = ["DEFAULT_METRICS", "OPTIONAL_METRICS", "check_metric_names"]

DEFAULT_METRICS = (
    "ovms_streams",
    "ovms_current_requests",
    "ovms_current_graphs",
    "ovms_requests_success",
    "ovms_requests_fail",
    "ovms_requests_accepted",
    "ovms_requests_rejected",
    "ovms_responses",
    "ovms_graph_error",
    "ovms_request_time_us",
    "ovms_inference_time_us",
    "ovms_wait_for_infer_req_time_us",
    "ovms_graph_processing_time_us",
    "ovms_graph_loaded",
)
OPTIONAL_METRICS = ("ovms_infer_req_queue_size", "ovms_infer_req_active")


def check_metric_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that is none of them."""
    possible = (*DEFAULT_METRICS, *OPTIONAL_METRICS)
    for name in names:
        if name not in possible:
            raise ValueError(f"{name[:100]!r} is no metric; possible: {', '.join(possible)}")
