"""What an engine tells under the names of vLLM: the present ones and the older.

Dashboards, autoscalers and routers ask for them (vllm/v1/metrics/loggers.py).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from server.host.metrics import EngineNumbers, Histogram

__all__ = ["VLLM_METRICS", "Metric", "Value"]

Value = float | Histogram | Mapping[str, float] | None


class Metric(NamedTuple):
    """A metric of an engine. `read` gives its value, one for each value of `label`, or None."""

    name: str
    kind: str
    description: str
    read: Callable[[EngineNumbers], Value]
    label: str = ""


def _kv_usage(engine: EngineNumbers) -> float | None:
    return engine.load.kv_usage if engine.load.num_blocks else None


def _nothing(engine: EngineNumbers) -> float | None:
    return 0 if engine.load.num_blocks else None


def _queries(engine: EngineNumbers) -> float | None:
    return engine.stats.looked_up_tokens if engine.load.num_blocks else None


def _hits(engine: EngineNumbers) -> float | None:
    return engine.stats.cached_tokens if engine.load.num_blocks else None


def _hit_rate(engine: EngineNumbers) -> float | None:
    if not engine.load.num_blocks:
        return None
    return engine.stats.cached_tokens / max(1, engine.stats.looked_up_tokens)


def _accepted_per_position(engine: EngineNumbers) -> Mapping[str, float]:
    counts = {0: 0, **engine.stats.accepted_per_position}
    return {str(position): counts[position] for position in sorted(counts)}


VLLM_METRICS = (
    Metric(
        "vllm:num_requests_running",
        "gauge",
        "Sequences in the batch of the engine",
        lambda engine: engine.load.num_running,
    ),
    Metric(
        "vllm:num_requests_waiting",
        "gauge",
        "Sequences that wait for a place in the batch",
        lambda engine: engine.load.num_waiting,
    ),
    Metric(
        "vllm:num_requests_waiting_by_reason",
        "gauge",
        "The same by reason: capacity is a place in the batch or blocks, deferred anything else",
        lambda engine: {"capacity": engine.load.num_waiting, "deferred": 0},
        "reason",
    ),
    Metric(
        "vllm:num_requests_swapped",
        "gauge",
        "Always 0: a preempted sequence is computed again",
        lambda _: 0,
    ),
    Metric(
        "vllm:kv_cache_usage_perc",
        "gauge",
        "The part of the KV cache that sequences hold, 0 to 1",
        _kv_usage,
    ),
    Metric(
        "vllm:gpu_cache_usage_perc", "gauge", "The older name of kv_cache_usage_perc", _kv_usage
    ),
    Metric(
        "vllm:cpu_cache_usage_perc",
        "gauge",
        "Always 0: there is no second cache to swap to",
        _nothing,
    ),
    Metric(
        "vllm:engine_sleep_state",
        "gauge",
        "Whether the engine is awake; one that is unloaded has no series",
        lambda _: {"awake": 1, "weights_offloaded": 0, "discard_all": 0},
        "sleep_state",
    ),
    Metric(
        "vllm:prefix_cache_queries_total",
        "counter",
        "Prompt tokens that were looked up in the prefix cache",
        _queries,
    ),
    Metric(
        "vllm:prefix_cache_hits_total",
        "counter",
        "Prompt tokens that were found in the prefix cache",
        _hits,
    ),
    Metric(
        "vllm:gpu_prefix_cache_queries_total",
        "counter",
        "The older name of prefix_cache_queries_total",
        _queries,
    ),
    Metric(
        "vllm:gpu_prefix_cache_hits_total",
        "counter",
        "The older name of prefix_cache_hits_total",
        _hits,
    ),
    Metric(
        "vllm:gpu_prefix_cache_hit_rate",
        "gauge",
        "The part of the prompt tokens so far that the prefix cache had, 0 to 1",
        _hit_rate,
    ),
    Metric(
        "vllm:prompt_tokens_total",
        "counter",
        "Prompt tokens of the requests that began",
        lambda engine: engine.stats.prompt_tokens,
    ),
    Metric(
        "vllm:prompt_tokens_cached_total",
        "counter",
        "Prompt tokens that were not computed, because the prefix cache had them",
        _hits,
    ),
    Metric(
        "vllm:prompt_tokens_by_source_total",
        "counter",
        "Prompt tokens by where their KV came from",
        lambda engine: {
            "local_compute": engine.stats.prompt_tokens - engine.stats.cached_tokens,
            "local_cache_hit": engine.stats.cached_tokens,
            "external_kv_transfer": 0,
        },
        "source",
    ),
    Metric(
        "vllm:prompt_tokens_cached_by_source_total",
        "counter",
        "Cached prompt tokens by where their KV was: always the KV cache",
        lambda engine: {"device": engine.stats.cached_tokens} if engine.load.num_blocks else None,
        "source",
    ),
    Metric(
        "vllm:generation_tokens_total",
        "counter",
        "Tokens of answers",
        lambda engine: engine.stats.generated_tokens,
    ),
    Metric(
        "vllm:spec_decode_num_drafts_total",
        "counter",
        "How often tokens were proposed for a sequence, by speculative decoding",
        lambda engine: engine.stats.num_drafts,
    ),
    Metric(
        "vllm:spec_decode_num_draft_tokens_total",
        "counter",
        "Tokens that were proposed",
        lambda engine: engine.stats.num_draft_tokens,
    ),
    Metric(
        "vllm:spec_decode_num_accepted_tokens_total",
        "counter",
        "Proposed tokens that became part of an answer",
        lambda engine: engine.stats.num_accepted_tokens,
    ),
    Metric(
        "vllm:spec_decode_num_accepted_tokens_per_pos_total",
        "counter",
        "The same by their place in the proposal, from 0",
        _accepted_per_position,
        "position",
    ),
    Metric(
        "vllm:num_preemptions_total",
        "counter",
        "Sequences that had to give their blocks back, to be computed again",
        lambda engine: engine.stats.preemptions,
    ),
    Metric(
        "vllm:request_success_total",
        "counter",
        "Requests that are over, by reason",
        lambda engine: engine.stats.finished,
        "finished_reason",
    ),
    Metric(
        "vllm:time_to_first_token_seconds",
        "histogram",
        "From the arrival of a request at the engine to its first token",
        lambda engine: engine.stats.first_token,
    ),
    Metric(
        "vllm:inter_token_latency_seconds",
        "histogram",
        "Between two tokens of an answer",
        lambda engine: engine.stats.inter_token,
    ),
    Metric(
        "vllm:time_per_output_token_seconds",
        "histogram",
        "The older name of inter_token_latency_seconds",
        lambda engine: engine.stats.inter_token,
    ),
    Metric(
        "vllm:request_time_per_output_token_seconds",
        "histogram",
        "The mean between the tokens of an answer, for each request",
        lambda engine: engine.stats.token_mean,
    ),
    Metric(
        "vllm:e2e_request_latency_seconds",
        "histogram",
        "From the arrival of a request at the engine to its end",
        lambda engine: engine.stats.whole,
    ),
    Metric(
        "vllm:request_queue_time_seconds",
        "histogram",
        "From the arrival of a request to its first step",
        lambda engine: engine.stats.queue,
    ),
    Metric(
        "vllm:request_inference_time_seconds",
        "histogram",
        "From the first step of a request to its end",
        lambda engine: engine.stats.inference,
    ),
    Metric(
        "vllm:request_prefill_time_seconds",
        "histogram",
        "From the first step of a request to its first token",
        lambda engine: engine.stats.prefill,
    ),
    Metric(
        "vllm:request_decode_time_seconds",
        "histogram",
        "From the first token of a request to its end",
        lambda engine: engine.stats.decode,
    ),
    Metric(
        "vllm:request_prompt_tokens",
        "histogram",
        "Prompt tokens of a request",
        lambda engine: engine.stats.prompt_sizes,
    ),
    Metric(
        "vllm:request_prefill_kv_computed_tokens",
        "histogram",
        "Prompt tokens of a request that the prefix cache did not have",
        lambda engine: engine.stats.computed_sizes,
    ),
    Metric(
        "vllm:request_generation_tokens",
        "histogram",
        "Tokens of all choices of a request",
        lambda engine: engine.stats.answer_sizes,
    ),
    Metric(
        "vllm:request_max_num_generation_tokens",
        "histogram",
        "Tokens of the longest choice of a request",
        lambda engine: engine.stats.longest_choices,
    ),
    Metric(
        "vllm:request_params_max_tokens",
        "histogram",
        "The most tokens that a choice could have",
        lambda engine: engine.stats.wanted_sizes,
    ),
    Metric(
        "vllm:request_params_n",
        "histogram",
        "Choices of a request",
        lambda engine: engine.stats.num_choices,
    ),
    Metric(
        "vllm:request_num_preemptions",
        "histogram",
        "How often a request had to give its blocks back",
        lambda engine: engine.stats.num_preemptions,
    ),
    Metric(
        "vllm:iteration_tokens_total",
        "histogram",
        "Tokens of a step",
        lambda engine: engine.stats.step_tokens,
    ),
)
