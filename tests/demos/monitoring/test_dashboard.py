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
from support.monitoring.others_queries import others_queries
from support.serving import running_server

import server
import server.api.replicas.backend  # the front's metrics
from server.models.config import load_config
from server.models.model_manager import ModelManager

FOLDER = Path(__file__).parents[3] / "demos" / "monitoring"
TINY_CHAT = Path(server.__file__).parent / "bundled_models" / "tiny_chat"
MODEL = "of-the-dashboard"
VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$model_name": ".+"}

# Counters with labels that have no series before something of that kind has happened.
ONLY_AFTER_FAULTS = {
    "vllm:admission_rejections_total",
    "server:hung_steps_total",
    "server:engine_replacements_total",
    "front:replica_ready",
}
# Labels whose values depend on what has happened.
ONLY_SOMETIMES = {"status"}
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
    return [*texts, *others_queries(), *(rule["expr"] for rule in alerts())]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


async def scrape(folder: Path) -> tuple[str, Series]:
    # The counters of a model go on in a process, and other tests have one called m.
    shutil.copytree(TINY_CHAT, folder / MODEL)
    file = folder / "config.json"
    entry = {"config": {"name": MODEL, "base_path": str(folder / MODEL)}}
    file.write_text(json.dumps({"model_config_list": [entry]}))
    manager = ModelManager(load_config(file))
    await manager.load_all()
    async with running_server(manager) as running:
        body = {"model": MODEL, "prompt": "What is", "max_tokens": 3, "temperature": 0}
        assert (await running.post("/v3/completions", body))[0] == 200
        async with running.http.get("/metrics") as response:
            text = await response.text()
    series: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(sample.labels)
    return text, series


def selectors(promql: Any, query: str) -> Iterator[tuple[str, list[Any], set[str]]]:
    """Each metric of a query, what its labels must match, and those that it is grouped by."""
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
            yield selector.name, selector.matchers.matchers, groups


def matches(promql: Any, labels: dict[str, str], matcher: Any) -> bool:
    """Whether a series has a label as a query wants it."""
    value = labels.get(matcher.name, "")
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
        return bool((value == matcher.value) == (matcher.op == promql.MatchOp.Equal))
    is_found = re.fullmatch(matcher.value, value) is not None
    return bool(is_found == (matcher.op == promql.MatchOp.Re))


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
            found = [
                {"job": "openvino-graph-server", "instance": "i", **labels}
                for labels in series[name]
            ]
            assert groups <= {label for each in found for label in each}, f"{query}: {found}"
            named = {matcher.name for matcher in matchers}
            assert named <= {label for each in found for label in each}, f"{query}: {found}"
            if not any(matcher.name in ONLY_SOMETIMES for matcher in matchers):
                shown = [e for e in found if all(matches(promql, e, m) for m in matchers)]
                assert shown, f"{query}: {found}"
    assert num_selectors > 100


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
