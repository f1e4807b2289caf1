"""What others ask a server of vLLM for, as their dashboards and routers have it.

Each is a selector of PromQL; a histogram stands for its buckets, its sum and its count.
"""

from collections.abc import Iterator, Mapping, Sequence

HISTOGRAMS: Mapping[str, Sequence[str]] = {
    # examples/observability/dashboards/grafana of vLLM.
    "vllm_overview.json": (
        "vllm:time_to_first_token_seconds",
        "vllm:inter_token_latency_seconds",
        "vllm:request_time_per_output_token_seconds",
        "vllm:e2e_request_latency_seconds",
        "vllm:request_queue_time_seconds",
        "vllm:request_prefill_time_seconds",
        "vllm:request_decode_time_seconds",
        "vllm:iteration_tokens_total",
        "vllm:request_prompt_tokens",
        "vllm:request_generation_tokens",
    ),
    "vllm_kv_cache.json": ("vllm:request_prefill_kv_computed_tokens",),
    # examples/observability/prometheus_grafana of vLLM; its version before had the second one.
    "grafana.json": (
        "vllm:request_max_num_generation_tokens",
        "vllm:time_per_output_token_seconds",
    ),
}
SELECTORS: Mapping[str, Sequence[str]] = {
    "vllm_overview.json": (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        'vllm:num_requests_waiting_by_reason{reason="capacity"}',
        'vllm:num_requests_waiting_by_reason{reason="deferred"}',
        "vllm:kv_cache_usage_perc",
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_total",
        "vllm:prefix_cache_hits_total",
        "vllm:prefix_cache_queries_total",
        'vllm:prompt_tokens_by_source_total{source="local_compute"}',
        'vllm:prompt_tokens_by_source_total{source="local_cache_hit"}',
        'vllm:prompt_tokens_by_source_total{source="external_kv_transfer"}',
        # The bounds that may be chosen.
        'vllm:time_to_first_token_seconds_bucket{le="1.0"}',
        'vllm:time_to_first_token_seconds_bucket{le="0.25"}',
        'vllm:request_time_per_output_token_seconds_bucket{le="0.1"}',
    ),
    "vllm_service_status.json": (
        'vllm:engine_sleep_state{sleep_state="awake"}',
        'vllm:request_success_total{finished_reason="error"}',
    ),
    "vllm_kv_cache.json": (
        'vllm:kv_cache_usage_perc{engine="0"}',
        "vllm:prompt_tokens_cached_total",
        'vllm:prompt_tokens_cached_by_source_total{source="device"}',
    ),
    # src/vllm_router/stats of production-stack.
    "engine_stats.py": (
        "vllm:gpu_cache_usage_perc",
        "vllm:gpu_prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_queries_total",
        "vllm:gpu_prefix_cache_hit_rate",
    ),
    # helm/dashboards of production-stack.
    "vllm-dashboard.json": ("vllm:num_requests_swapped", "vllm:cpu_cache_usage_perc"),
    # llm-d's endpoint picker, and the Gateway API Inference Extension.
    "core-metrics-extractor": (
        'vllm:cache_config_info{block_size="32", num_gpu_blocks=~"[0-9]+"}',
    ),
}
# What the dashboards choose by and add up over, apart from labels of Prometheus itself.
LABELS = ("model_name", "engine")
OF_HTTP = (
    "sum by (status) (http_requests_total)",
    "sum by (handler) (http_requests_total)",
    "sum by (handler) (http_request_duration_seconds_sum)",
    "sum by (handler) (http_request_duration_seconds_count)",
)


def others_queries() -> Iterator[str]:
    """All of them as queries that add up over the labels."""
    selectors = [each for group in SELECTORS.values() for each in group]
    for group in HISTOGRAMS.values():
        for name in group:
            selectors += [f"{name}_sum", f"{name}_count"]
            yield f"sum by (le, {', '.join(LABELS)}) ({name}_bucket)"
    for selector in selectors:
        yield f"sum by ({', '.join(LABELS)}) ({selector})"
    yield from OF_HTTP
