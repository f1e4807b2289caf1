"""The part of MediaPipe's CalculatorGraphConfig that graph.pbtxt files may use here.

The messages are described as options are: by dataclasses, of which only names and types count.
Fields without an effect tune how MediaPipe schedules; a node is a coroutine here and reads its
streams when it likes. Fields that would change a result are not declared: REFUSED_FIELDS in
server/graph/text/parser.py says why for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["SCHEDULING_OPTIONS", "CalculatorGraphConfig", "Node"]


@dataclass
class Elsewhere:
    """A message that the parser reads on its own, by its type."""


@dataclass
class InputStreamInfo:
    """An input with `back_edge` is left out: a node streams without a loop to itself."""

    tag_index: str
    back_edge: bool


@dataclass
class InputStreamHandlerConfig:
    """Only the name is checked."""

    input_stream_handler: str
    options: Elsewhere


@dataclass
class OutputStreamHandlerConfig:
    """Only the name is checked."""

    output_stream_handler: str
    input_side_packet: tuple[str, ...]
    options: Elsewhere


@dataclass
class ExecutorConfig:
    """Without effect."""

    name: str
    type: str
    options: Elsewhere


@dataclass
class ProfilerConfig:
    """Without effect."""

    histogram_interval_size_usec: int
    num_histogram_intervals: int
    enable_input_output_latency: bool
    enable_profiler: bool
    enable_stream_latency: bool
    use_packet_timestamp_for_added_packet: bool
    trace_log_capacity: int
    trace_event_types_disabled: tuple[int, ...]
    trace_log_path: str
    trace_log_count: int
    trace_log_interval_usec: int
    trace_log_margin_usec: int
    trace_log_duration_events: bool
    trace_log_interval_count: int
    trace_log_disabled: bool
    trace_enabled: bool
    trace_log_instant_events: bool
    calculator_filter: str


@dataclass
class Node:
    """Ports are "TAG:name", "TAG:index:name" or "name"."""

    name: str
    calculator: str
    input_stream: tuple[str, ...]
    output_stream: tuple[str, ...]
    input_side_packet: tuple[str, ...]
    output_side_packet: tuple[str, ...]
    # The options of the calculator, in one of these two forms.
    options: Elsewhere
    node_options: tuple[Elsewhere, ...]
    input_stream_info: tuple[InputStreamInfo, ...]
    # Without effect.
    source_layer: int
    buffer_size_hint: int
    executor: str
    max_in_flight: int
    profiler_config: ProfilerConfig
    input_stream_handler: InputStreamHandlerConfig
    output_stream_handler: OutputStreamHandlerConfig


@dataclass
class CalculatorGraphConfig:
    """A graph that is served has one input stream and one output stream.

    Its input side packets are parameters of requests, where a node takes a str, int, float or bool.
    Others are supplied by nobody; calculators that have them as optional do without.
    `max_queue_size` is how many packets a reader of a stream holds before the writer waits; 0 is
    the default, 16, and -1 practically no bound.
    """

    node: tuple[Node, ...]
    input_stream: tuple[str, ...]
    output_stream: tuple[str, ...]
    input_side_packet: tuple[str, ...]
    output_side_packet: tuple[str, ...]
    max_queue_size: int
    # Without effect.
    num_threads: int
    report_deadlock: bool
    input_stream_handler: InputStreamHandlerConfig
    output_stream_handler: OutputStreamHandlerConfig
    executor: tuple[ExecutorConfig, ...]
    profiler_config: ProfilerConfig
    package: str
    type: str


@dataclass
class SyncSet:
    """Inputs that wait for each other."""

    tag_index: tuple[str, ...]


@dataclass
class SyncSetInputStreamHandlerOptions:
    """Without effect."""

    sync_set: tuple[SyncSet, ...]


@dataclass
class ThreadPoolExecutorOptions:
    """Without effect."""

    num_threads: int
    stack_size: int
    nice_priority_level: int
    thread_name_prefix: str


SCHEDULING_OPTIONS: Mapping[str, type] = {
    "[mediapipe.SyncSetInputStreamHandlerOptions.ext]": SyncSetInputStreamHandlerOptions,
    "[mediapipe.ThreadPoolExecutorOptions.ext]": ThreadPoolExecutorOptions,
}
"""The possible `options` of handlers and executors."""
