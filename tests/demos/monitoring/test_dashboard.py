"""Every query of the dashboard, and those of others, find their series in a real scrape."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.serving import running_server

import server
import server.api.replicas.backend  # the front's metrics
from server.models.config import load_config
from server.models.model_manager import ModelManager

FOLDER = Path(__file__).parents[3] / "demos" / "monitoring"
TINY_CHAT = Path(server.__file__).parent / "bundled_models" / "tiny_chat"
VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$model_name": ".+"}

# What dashboards for vLLM ask for, its own example and those of production-stack: names and labels.
VLLM_QUERIES = (
    "histogram_quantile(0.99, sum by(le) (rate("
    'vllm:e2e_request_latency_seconds_bucket{model_name=~".+"}[1m])))',
    'rate(vllm:prompt_tokens_total{model_name=~".+"}[1m])',
    'rate(vllm:generation_tokens_total{model_name=~".+"}[1m])',
    "histogram_quantile(0.9, sum by(le) (rate(vllm:time_per_output_token_seconds_bucket[1m])))",
    "histogram_quantile(0.9, sum by(le) (rate(vllm:inter_token_latency_seconds_bucket[1m])))",
    "rate(vllm:time_to_first_token_seconds_sum[1m])"
    " / rate(vllm:time_to_first_token_seconds_count[1m])",
    'vllm:num_requests_running{model_name=~".+"}',
    "vllm:num_requests_swapped",
    "vllm:num_requests_waiting",
    "vllm:gpu_cache_usage_perc",
    "vllm:cpu_cache_usage_perc",
    "vllm:kv_cache_usage_perc",
    "sum by(le) (increase(vllm:request_prompt_tokens_bucket[1m]))",
    "sum by(le) (increase(vllm:request_generation_tokens_bucket[1m]))",
    "sum by(finished_reason) (increase(vllm:request_success_total[1m]))",
    "rate(vllm:request_queue_time_seconds_sum[1m])",
    "rate(vllm:request_prefill_time_seconds_sum[1m])",
    "rate(vllm:request_decode_time_seconds_sum[1m])",
    "sum by(le) (increase(vllm:request_max_num_generation_tokens_bucket[1m]))",
    "vllm:gpu_prefix_cache_hits_total / vllm:gpu_prefix_cache_queries_total",
    'vllm:cache_config_info{block_size="32"}',
)

# Counters with labels that have no series before something of that kind has happened.
ONLY_AFTER_FAULTS = {
    "vllm:admission_rejections_total",
    "server:hung_steps_total",
    "server:engine_replacements_total",
    "front:replica_ready",
}
# Prometheus makes it.
OF_PROMETHEUS = {"up"}

Series = dict[str, list[dict[str, str]]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def queries() -> list[str]:
    texts = [t["expr"] for panel in dashboard()["panels"] for t in panel.get("targets", ())]
    for name, value in VARIABLES.items():
        texts = [text.replace(name, value) for text in texts]
    return [*texts, *VLLM_QUERIES, *(rule["expr"] for rule in alerts())]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


async def scrape(folder: Path) -> tuple[str, Series]:
    shutil.copytree(TINY_CHAT, folder / "m")
    file = folder / "config.json"
    entry = {"config": {"name": "m", "base_path": str(folder / "m")}}
    file.write_text(json.dumps({"model_config_list": [entry]}))
    manager = ModelManager(load_config(file))
    await manager.load_all()
    async with running_server(manager) as running:
        body = {"model": "m", "prompt": "What is", "max_tokens": 3, "temperature": 0}
        assert (await running.post("/v3/completions", body))[0] == 200
        async with running.http.get("/metrics") as response:
            text = await response.text()
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(sample.labels)
    return text, series


def selectors(promql: Any, query: str) -> Iterator[tuple[str, list[tuple[str, str]], set[str]]]:
    """Each metric of a query, the labels that must match, and those that it is grouped by."""
    nodes: list[Any] = []
    promql.walk(promql.parse(query), lambda node: nodes.append(node) or True)
    groups = {
        label
        for node in nodes
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None
        for label in node.modifier.labels
    }
    for node in nodes:
        selector = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
        if isinstance(selector, promql.VectorSelector):
            matchers = [(m.name, m.value) for m in selector.matchers.matchers]
            yield selector.name, matchers, groups


async def test_every_query_finds_its_series(tmp_path: Path) -> None:
    promql = pytest.importorskip("promql_parser")
    text, series = await scrape(tmp_path)
    num_selectors = 0
    for query in queries():
        for name, matchers, groups in selectors(promql, query):
            num_selectors += 1
            if name in OF_PROMETHEUS:
                continue
            if name in ONLY_AFTER_FAULTS and name not in series:
                assert f"# TYPE {name} " in text, query
                continue
            assert name in series, f"{query}: there is no {name}"
            # Prometheus adds what it has scraped.
            labels = {label for each in series[name] for label in each} | {"job", "instance"}
            wanted = groups | {label for label, _ in matchers}
            assert wanted <= labels, f"{query}: {name} has {labels}"
    assert num_selectors > 50


def test_the_dashboard_and_the_configuration_can_be_loaded() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel.get("targets") for panel in panels if panel["type"] != "row")
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert configuration["rule_files"] == ["alerts.yml"]


def test_every_alert_says_what_it_is_and_the_page_what_to_do() -> None:
    page = (FOLDER.parents[1] / "docs" / "monitoring.md").read_text()
    documented = re.findall(r"^\| `([A-Z]\w+)` \|.+\|.+\|$", page, re.MULTILINE)
    assert documented == [rule["alert"] for rule in alerts()]
    assert all(rule["annotations"]["summary"] for rule in alerts())
