"""GET /metrics: every name with its labels, one series for each model, on a real socket."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families
from support.fakes import echo_graph, write_graph
from support.serving import Server, running_server

import server
from server.api.monitoring.exposition import Family, label_text
from server.api.monitoring.metrics_text import _in_order
from server.api.monitoring.vllm_metrics import VLLM_METRICS
from server.api.monitoring.vllm_names import vllm_families
from server.host.metrics import ENGINES, EngineLoad, EngineNumbers, EngineStats, Histogram
from server.host.metrics.engines import Engines
from server.models.config import load_config
from server.models.model_manager import ModelManager

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

TINY_CHAT = Path(server.__file__).parent / "bundled_models" / "tiny_chat"
# No other test of the process has one of this name: the counters of a model go on.
MODEL = "counted"
CHAT = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
    "max_tokens": 6,
}


def parse(text: str) -> Samples:
    """The samples by their names and labels; none may be there twice."""
    found: Samples = {}
    names = set()
    for family in text_string_to_metric_families(text):
        assert family.name not in names, f"{family.name} is in one place"
        names.add(family.name)
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} is there once"
            found[key] = sample.value
    return found


async def scrape(server: Server) -> Samples:

    async with server.http.get("/metrics") as response:
        assert response.status == 200
        return parse(await response.text())


def values(samples: Samples, name: str, **labels: str) -> list[float]:
    return [
        value
        for (found, of), value in samples.items()
        if found == name and labels.items() <= dict(of).items()
    ]


def write_config(folder: Path, *names: str) -> Path:
    file = folder / "config.json"
    entries = [{"config": {"name": name, "base_path": str(folder / name)}} for name in names]
    file.write_text(json.dumps({"model_config_list": entries}))
    return file


async def test_a_model_from_its_first_request_to_its_removal(tmp_path: Path) -> None:
    write_graph(tmp_path / "echo", echo_graph())
    shutil.copytree(TINY_CHAT, tmp_path / MODEL)
    manager = ModelManager(load_config(write_config(tmp_path, MODEL, "echo")))
    await manager.load_all()
    async with running_server(manager) as server:
        for _ in range(2):
            status, _ = await server.post("/v3/chat/completions", CHAT)
            assert status == 200
            assert await server.post_text("/v3/chat/completions", {**CHAT, "stream": True})
        assert (await server.post("/v3/chat/completions", {**CHAT, "n": 0}))[0] == 400
        assert (await server.post("/v3/chat/completions", {**CHAT, "model": "echo"}))[0] == 200
        assert (await server.http.get("/no/such/path/of/a/client")).status == 404

        samples = await scrape(server)
        _check_engine(samples)
        _check_nodes_and_paths(samples)

        async with server.http.get("/load") as response:
            assert await response.json() == {"server_load": 0}
        async with server.http.get("/v1/loads") as response:
            loads = (await response.json())["loads"]
        (load,) = (load for load in loads if load["model_name"] == MODEL)
        assert load["num_running_reqs"] == 0
        assert load["max_total_num_tokens"] >= 2048

        # Loaded again, it goes on.
        graph = tmp_path / MODEL / "graph.pbtxt"
        graph.write_text(graph.read_text() + "\n# changed\n")
        await manager.reload(retry_failed=False)
        await server.post("/v3/chat/completions", CHAT)
        samples = await _scrape_later(server)
        finished = {"model_name": MODEL, "finished_reason": "length"}
        assert values(samples, "vllm:request_success_total", **finished) == [5]
        assert values(samples, "vllm:num_requests_running", model_name=MODEL) == [0]
        assert values(samples, "server:node_calls_total", model=MODEL, node="LLMExecutor")

        # Removed, it is gone.
        write_config(tmp_path, "echo")
        await manager.reload(retry_failed=False)
        await _until_closed()
        samples = await _scrape_later(server)
        assert not [name for name, of in samples if ("model_name", MODEL) in of]
        assert {dict(of)["model"] for name, of in samples if "node_calls" in name} == {"echo"}


def _check_engine(samples: Samples) -> None:
    for metric in VLLM_METRICS:
        name = metric.name + ("_count" if metric.kind == "histogram" else "")
        found = values(samples, name, model_name=MODEL, engine="0")
        assert found, name
        assert metric.label or len(found) == 1, name
    # Other models of the process are not of this test.
    samples = {key: value for key, value in samples.items() if ("model_name", MODEL) in key[1]}
    assert values(samples, "vllm:request_success_total", finished_reason="length") == [4]
    assert values(samples, "vllm:generation_tokens_total") == [24]
    assert values(samples, "vllm:time_to_first_token_seconds_count") == [4]
    assert values(samples, "vllm:inter_token_latency_seconds_count") == [20]
    assert values(samples, "vllm:e2e_request_latency_seconds_bucket", le="+Inf") == [4]
    assert values(samples, "vllm:e2e_request_latency_seconds_bucket", le="0.3")
    assert values(samples, "vllm:cache_config_info", block_size="32") == [1]
    prompt = values(samples, "vllm:prompt_tokens_total")[0]
    assert values(samples, "vllm:request_prompt_tokens_sum") == [prompt]
    assert values(samples, "vllm:prefix_cache_queries_total") == [prompt]
    assert values(samples, "vllm:gpu_prefix_cache_hits_total")[0] > 0


def _check_nodes_and_paths(samples: Samples) -> None:
    calls = {
        dict(of)["node"]: value
        for (name, of), value in samples.items()
        if name == "server:node_calls_total" and dict(of)["model"] == MODEL
    }
    assert len(calls) >= 3
    assert set(calls.values()) == {4}
    assert sum(values(samples, "server:node_seconds_total", model=MODEL)) > 0
    chat = {"handler": "/v3/chat/completions", "method": "POST"}
    assert values(samples, "http_requests_total", **chat, status="2xx") == [5]
    assert values(samples, "http_requests_total", **chat, status="4xx") == [1]
    assert values(samples, "http_request_duration_seconds_count", **chat) == [6]
    assert values(samples, "http_requests_total", handler="none", status="4xx") == [1]
    handlers = {dict(of)["handler"] for name, of in samples if name == "http_requests_total"}
    assert handlers == {"/v3/chat/completions", "none"}


async def _scrape_later(server: Server) -> Samples:
    # Scrapes within 40 ms share a text.
    await asyncio.sleep(0.05)
    return await scrape(server)


async def _until_closed() -> None:
    async with asyncio.timeout(20):
        while MODEL in ENGINES.by_model():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


def test_what_is_special_in_labels() -> None:
    family = Family("a", "gauge", "A gauge")
    family.add(label_text({"name": 'one "two" \\ \n three'}), 1.5)
    histogram = Family("h", "histogram", "A histogram")
    histogram.add_histogram("", Histogram((1, 2)))
    samples = parse("".join((*family.lines(), *histogram.lines())))
    assert samples["a", (("name", 'one "two" \\ \n three'),)] == 1.5
    assert samples["h_bucket", (("le", "+Inf"),)] == 0
    assert not list(Family("b", "gauge", "Without samples").lines())


LOAD = EngineLoad(1, 2, 3, 4, 32, 8, 256, 1000, True)


def test_engines_of_one_model_are_added_up() -> None:
    engines = Engines()
    old, new = EngineStats(100), EngineStats(1000)
    old.prompt_tokens, new.prompt_tokens = 3, 4
    old.prompt_sizes.observe(150)
    new.prompt_sizes.observe(7)
    first = engines.add("m", old, lambda: LOAD)
    second = engines.add("m", new, lambda: LOAD)
    engines.add("", EngineStats(), lambda: LOAD)
    both = engines.by_model()
    assert set(both) == {"m"}
    assert both["m"].stats.prompt_tokens == 7
    assert (both["m"].load.num_running, both["m"].load.num_blocks) == (2, 4)
    engines.remove(first)
    engines.remove(first)
    assert engines.by_model()["m"].stats.prompt_tokens == 7
    assert engines.by_model()["m"].stats.prompt_sizes.count == 2
    engines.remove(second)
    assert engines.by_model() == {}
    third = engines.add("m", EngineStats(1000), lambda: LOAD)
    assert engines.by_model()["m"].stats.prompt_tokens == 7
    engines.remove(third)


def test_routers_that_know_no_label_read_the_first_model() -> None:
    """llm-d's picker takes the first series of each of these."""
    first, *others = (EngineNumbers(EngineStats(), replace(LOAD, num_waiting=n)) for n in (9, 0, 0))
    configured = [SimpleNamespace(name=name) for name in ("no engine", "b", "a", "c")]
    numbers = dict(zip("cab", (*others, first), strict=True))
    engines = _in_order(numbers, configured)  # type: ignore[arg-type]
    text = "".join(line for family in vllm_families(engines) for line in family.lines())
    for name in ("num_requests_waiting", "num_requests_running", "kv_cache_usage_perc"):
        series = [line for line in text.splitlines() if line.startswith(f"vllm:{name}{{")]
        assert [line.split('"')[1] for line in series] == ["b", "a", "c"]
    assert 'vllm:num_requests_waiting{model_name="b",engine="0"} 9.0' in text
    info = next(line for line in text.splitlines() if line.startswith("vllm:cache_config_info"))
    assert 'model_name="b"' in info
    assert 'block_size="32",num_gpu_blocks="4"' in info


def test_texts_of_histograms_follow_their_numbers() -> None:
    histogram, names = Histogram((1, 2)), ("model_name", "m")
    texts = []
    for value in (1, 2, 2):
        histogram.observe(value)
        family = Family("kept", "histogram", "A histogram")
        family.add_histogram(label_text(dict([names])), histogram)
        texts.append(parse("".join(family.lines())))
    assert [text["kept_count", (names,)] for text in texts] == [1, 2, 3]
    assert [text["kept_sum", (names,)] for text in texts] == [1, 3, 5]
    assert [text["kept_bucket", (("le", "1.0"), names)] for text in texts] == [1, 1, 1]


def test_quantiles_of_what_came_since() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    assert histogram.quantile(0.5) is None
    histogram.observe(0.5, 10)
    before = histogram.copy()
    histogram.observe(3.0, 4)
    assert histogram.quantile(0.5, before) == 3.0
    assert 0 < (histogram.quantile(0.5) or 0) <= 1.0
    histogram.observe(100.0, 100)
    assert histogram.quantile(0.99) == 4.0


def test_an_engine_that_ends_while_the_numbers_are_collected() -> None:
    """It is counted once: a counter that falls back looks like a restart of the server."""
    engines = Engines()
    for tokens in (1, 10):
        stats = EngineStats()
        stats.tokens = tokens
        ended = engines.add("m", stats, lambda: LOAD)
        if tokens == 1:
            engines.remove(ended)

    def load() -> EngineLoad:
        engines.remove(ended)
        return LOAD

    ended.load = load
    assert engines.by_model()["m"].stats.tokens == 11
    engines.add("m", EngineStats(), lambda: LOAD)
    assert engines.by_model()["m"].stats.tokens == 11
