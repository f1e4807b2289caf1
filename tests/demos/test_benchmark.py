"""The benchmark demo: its workload, load generator, figures and order of rounds."""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

DEMO = Path(__file__).parents[2] / "demos" / "benchmark"
sys.path.insert(0, str(DEMO))

import contender  # noqa: E402
import figures  # noqa: E402
import genai_contender  # noqa: E402
import machine  # noqa: E402
import make_model  # noqa: E402
import micro  # noqa: E402
import run  # noqa: E402
import server_contender  # noqa: E402
import sse_client  # noqa: E402
import workload  # noqa: E402

from server.engine.config import EngineConfig  # noqa: E402
from server.engine.engine import LLMEngine  # noqa: E402

HOST = "127.0.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class TestWorkload:
    def test_same_seed_and_round_give_the_same_requests(self) -> None:
        one = workload.Workload(num_requests=8, vocab_size=1000, seed=3)
        other = workload.Workload(num_requests=8, vocab_size=1000, seed=3)
        assert one.make_round(1) == other.make_round(1)

    def test_rounds_and_seeds_differ(self) -> None:
        one = workload.Workload(num_requests=8, vocab_size=1000, seed=3)
        other = workload.Workload(num_requests=8, vocab_size=1000, seed=4)
        assert one.make_round(1) != one.make_round(2)
        assert one.make_round(1) != other.make_round(1)

    def test_lengths_are_lognormal_with_the_stated_mean_and_median(self) -> None:
        rng = np.random.default_rng(0)
        for distribution in (workload.PROMPT_LENGTHS, workload.OUTPUT_LENGTHS):
            lengths = distribution.sample(rng, 200_000, cap=10**9)
            assert np.mean(lengths) == pytest.approx(distribution.mean, rel=0.05)
            assert np.median(lengths) == pytest.approx(distribution.median, rel=0.03)

    def test_lengths_are_capped(self) -> None:
        requests = workload.Workload(500, vocab_size=1000, seed=0, length_cap=100).make_round(1)
        lengths = [len(one.token_ids) for one in requests] + [one.max_tokens for one in requests]
        assert (min(lengths), max(lengths)) == (workload.MIN_LENGTH, 100)

    def test_token_ids_stay_away_from_both_ends_of_the_vocabulary(self) -> None:
        requests = workload.Workload(100, vocab_size=1000, seed=0).make_round(1)
        token_ids = {token_id for one in requests for token_id in one.token_ids}
        assert min(token_ids) >= 250
        assert max(token_ids) < 750

    def test_all_at_once_unless_a_rate_is_given(self) -> None:
        at_once = workload.Workload(2000, vocab_size=100, seed=0, length_cap=4).make_round(1)
        poisson = workload.Workload(2000, 100, 0, length_cap=4, request_rate=5.0).make_round(1)
        assert {one.arrival_s for one in at_once} == {0.0}
        assert np.diff([one.arrival_s for one in poisson]).mean() == pytest.approx(0.2, rel=0.1)


class TestFigures:
    def test_of_one_round(self) -> None:
        timings = [
            contender.RequestTiming(0.0, (0.5, 1.0, 1.5), 3),
            contender.RequestTiming(1.0, (2.0,), 1),
        ]
        assert figures.compute_figures(timings) == {
            "output_tokens_per_s": pytest.approx(2.0),
            "ttft_p50_ms": pytest.approx(750),
            "ttft_p99_ms": pytest.approx(995),
            "tpot_p50_ms": pytest.approx(250),
            "tpot_p99_ms": pytest.approx(495),
        }

    def test_ratio_is_taken_round_by_round(self) -> None:
        ratios = figures.compute_ratios(
            [{"speed": 10.0}, {"speed": 30.0}, {"speed": 20.0}],
            [{"speed": 10.0}, {"speed": 10.0}, {"speed": 10.0}],
        )
        assert ratios == {"speed": {"median": 2.0, "min": 1.0, "max": 3.0}}

    def test_table(self) -> None:
        low = dict.fromkeys((figure.name for figure in figures.FIGURES), 10.0)
        high = dict.fromkeys(low, 20.0)
        rounds = {"server": [low, high], "peer": [low, low]}
        ratios = figures.compute_ratios(rounds["server"], rounds["peer"])
        lines = figures.render_table(rounds, ratios).splitlines()
        assert lines[0] == "|  | server | peer | ratio |"
        assert lines[2] == (
            "| output tok/s | 15.0 (10.0 - 20.0) | 10.0 (10.0 - 10.0) | 1.50 (1.00 - 2.00) |"
        )
        assert len(lines) == 2 + len(figures.FIGURES)

    def test_table_of_one_contender_has_no_ratio(self) -> None:
        only = dict.fromkeys((figure.name for figure in figures.FIGURES), 1.0)
        assert figures.render_table({"peer": [only]}, None).splitlines()[0] == "|  | peer |"


def _event(text: str, **fields: Any) -> bytes:
    payload = {"choices": [{"index": 0, "text": text}], **fields}
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def _usage_event(num_tokens: int) -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": num_tokens}
    return b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
REQUEST = workload.BenchmarkRequest((5, 6, 7), max_tokens=2)


def _chunked(pieces: Sequence[bytes]) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


class TestSseParser:
    @pytest.mark.parametrize("size", [1, 2, 7, 10_000])
    def test_reads_split_anywhere(self, size: int) -> None:
        # The first event spans two HTTP chunks.
        data = _chunked([b"data: on", b"e\n\ndata: two\n\n", DONE])
        parser = sse_client.SseParser()
        payloads = [
            payload
            for start in range(0, len(data), size)
            for payload in parser.feed(data[start : start + size])
        ]
        assert payloads == [b"one", b"two", b"[DONE]"]
        assert parser.status == 200

    def test_answer_without_chunks(self) -> None:
        parser = sse_client.SseParser()
        assert parser.feed(b"HTTP/1.0 200 OK\r\n\r\ndata: one\n\nda") == [b"one"]
        assert parser.feed(b"ta: two\n\n") == [b"two"]


class TestReadTiming:
    def test_only_text_counts_as_a_token_time(self) -> None:
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        data = [head + _event(""), _event("a"), _event("b"), _usage_event(2) + DONE]
        reads = [(100.0 + index, piece) for index, piece in enumerate(data)]
        timing = sse_client.read_timing(reads, REQUEST, start=100.0)
        assert timing == contender.RequestTiming(0.0, (1.0, 2.0), 2)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b'HTTP/1.1 404 Not Found\r\n\r\n{"error": "no such model"}', "404.*no such model"),
            (_chunked([_event("a"), DONE]), "not a complete stream"),
            (_chunked([_usage_event(2), DONE]), "not a complete stream"),
            (_chunked([b'data: {"error": {"message": "broken"}}\n\n']), "error event.*broken"),
            (b"", "status None"),
        ],
    )
    def test_refuses_what_is_not_a_whole_answer(self, data: bytes, message: str) -> None:
        with pytest.raises(contender.BenchmarkError, match=message):
            sse_client.read_timing([(0.0, data)], REQUEST, start=0.0)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[int]]]:
    """Start a server that answers completions with the given handler; returns its port."""
    runners = []

    async def start(handler: Handler) -> int:
        app = web.Application()
        app.router.add_post(sse_client.ENDPOINT, handler)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        port: int = runner.addresses[0][1]
        return port

    yield start
    for runner in runners:
        await runner.cleanup()


async def _stream_tokens(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(body["max_tokens"]):
        await response.write(_event("a"))
    await response.write(_usage_event(body["max_tokens"]))
    await response.write(DONE)
    return response


class TestRunRequests:
    async def test_sends_what_exact_lengths_need(
        self, serve: Callable[[Handler], Awaitable[int]]
    ) -> None:
        bodies = []

        async def record(request: web.Request) -> web.StreamResponse:
            bodies.append(await request.json())
            return await _stream_tokens(request)

        await sse_client.run_requests(HOST, await serve(record), "some-model", [REQUEST])
        assert bodies == [
            {
                "model": "some-model",
                "prompt": [5, 6, 7],
                "max_tokens": 2,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]

    async def test_many_at_once(self, serve: Callable[[Handler], Awaitable[int]]) -> None:
        requests = workload.Workload(32, vocab_size=100, seed=0, length_cap=20).make_round(0)
        timings = await sse_client.run_requests(HOST, await serve(_stream_tokens), "m", requests)
        contender.check_num_tokens("server", requests, timings)
        assert all(
            len(timing.token_times_s) == request.max_tokens
            for timing, request in zip(timings, requests, strict=True)
        )
        assert all(timing.token_times_s[0] > 0 for timing in timings)

    async def test_waits_for_the_arrival(self, serve: Callable[[Handler], Awaitable[int]]) -> None:
        late = workload.BenchmarkRequest((5,), max_tokens=1, arrival_s=0.05)
        (timing,) = await sse_client.run_requests(HOST, await serve(_stream_tokens), "m", [late])
        assert timing.arrival_s == 0.05
        assert timing.token_times_s[0] >= 0.05


class FakeContender:
    """Writes down what is done to it."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls

    async def start(self) -> None:
        self.calls.append(f"{self.name} start")

    async def run_round(
        self, requests: Sequence[workload.BenchmarkRequest]
    ) -> list[contender.RequestTiming]:
        self.calls.append(f"{self.name} {requests[0].token_ids[0]}")
        return [
            contender.RequestTiming(0.0, (1.0, 2.0), request.max_tokens) for request in requests
        ]

    async def stop(self) -> None:
        self.calls.append(f"{self.name} stop")


class HangingContender(FakeContender):
    """Never finishes a round."""

    async def run_round(
        self, requests: Sequence[workload.BenchmarkRequest]
    ) -> list[contender.RequestTiming]:
        await asyncio.Event().wait()
        return []


class TestRunBenchmark:
    LOAD = workload.Workload(num_requests=2, vocab_size=10_000, seed=0, length_cap=8)

    async def test_rounds_alternate_on_the_same_requests_and_the_warm_up_is_left_out(self) -> None:
        calls: list[str] = []
        contenders = [FakeContender("A", calls), FakeContender("B", calls)]
        rounds = await run.run_benchmark(contenders, self.LOAD, num_rounds=2, timeout_s=5)
        firsts = [self.LOAD.make_round(index)[0].token_ids[0] for index in range(3)]
        assert calls == [
            *("A start", "B start"),
            *(f"{name} {first}" for first in firsts for name in "AB"),
            *("B stop", "A stop"),
        ]
        assert [len(one) for one in rounds.values()] == [2, 2]

    async def test_a_round_that_hangs_is_an_error_and_all_are_stopped(self) -> None:
        calls: list[str] = []
        contenders = [FakeContender("A", calls), HangingContender("B", calls)]
        with pytest.raises(contender.BenchmarkError, match=r"B: round 0 took more than 0\.01 s"):
            await run.run_benchmark(contenders, self.LOAD, num_rounds=1, timeout_s=0.01)
        assert calls[-2:] == ["B stop", "A stop"]

    def test_short_answers_are_an_error(self) -> None:
        timing = contender.RequestTiming(0.0, (1.0,), 1)
        with pytest.raises(contender.BenchmarkError, match="got 1 tokens instead of 2"):
            contender.check_num_tokens("A", [REQUEST], [timing])


FAKE_SERVER = """
import json, sys
from aiohttp import web

async def ready(request):
    return web.Response()

async def complete(request):
    num_tokens = (await request.json())["max_tokens"]
    events = [{"choices": [{"text": "a"}]}] * num_tokens
    events.append({"choices": [], "usage": {"completion_tokens": num_tokens}})
    body = "".join(f"data: {json.dumps(event)}\\n\\n" for event in events)
    return web.Response(text=body + "data: [DONE]\\n\\n")

app = web.Application()
app.add_routes([web.get("/v2/health/ready", ready), web.post("/v3/completions", complete)])
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
json.load(open(options["--config_path"]))
web.run_app(app, host=options["--rest_bind_address"], port=int(options["--rest_port"]))
stats = dict(num_steps=2, step_s=1.0, infer_s=0.5, schedule_s=0.1, sample_s=0.1, tokens=3)
print("engine stats:", json.dumps(stats), file=sys.stderr)
"""


class TestServerContender:
    LOG = (
        'INFO server.engine: engine stats: {"num_steps": 1, "step_s": 9, "infer_s": 9, '
        '"schedule_s": 0, "sample_s": 0, "tokens": 1}\n'
        'INFO server.engine: engine stats: {"num_steps": 100, "step_s": 2.0, "infer_s": 1.9, '
        '"schedule_s": 0.02, "sample_s": 0.03, "tokens": 1600, "preemptions": 0}\n'
    )

    def test_the_last_engine_stats_count(self) -> None:
        stats = server_contender.parse_step_stats(self.LOG)
        assert stats is not None
        assert stats.num_steps == 100
        assert stats.host_share == pytest.approx(0.05)
        assert stats.host_ms_per_step == pytest.approx(1.0)
        assert "16.0 tokens on average; not inference: 5.0% of step time, 1.00 ms" in (
            run.render_step_stats(stats)
        )

    def test_a_log_without_stats(self) -> None:
        assert server_contender.parse_step_stats("INFO ready\n") is None

    def test_the_graph_serves_the_model_where_it_is(self, tmp_path: Path) -> None:
        settings = contender.EngineSettings(Path("/models/it's"), {"NUM_STREAMS": 1}, 128, 32, 3)
        config_path = server_contender.write_repository(tmp_path, settings)
        entry = json.loads(config_path.read_text())["mediapipe_config_list"][0]
        assert entry == {"name": "benchmark", "base_path": str(tmp_path)}
        graph = (tmp_path / "graph.pbtxt").read_text()
        assert graph.count('models_path: "/models/it\'s"') == 2
        assert """plugin_config: '{"NUM_STREAMS": 1}'""" in graph
        assert "max_num_batched_tokens: 128" in graph
        assert "max_num_seqs: 32" in graph
        assert "cache_size: 3" in graph

    async def test_start_measure_and_stop(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "server.py").write_text(FAKE_SERVER)
        monkeypatch.setattr(server_contender, "REPOSITORY", tmp_path)
        ours = server_contender.ServerContender(contender.EngineSettings(tmp_path))
        load = workload.Workload(4, vocab_size=100, seed=0, length_cap=8)
        rounds = await run.run_benchmark([ours], load, num_rounds=1, timeout_s=30)
        assert rounds["server"][0]["output_tokens_per_s"] > 0
        assert ours.step_stats == server_contender.StepStats(2, 1.0, 0.5, 0.1, 0.1, 3)

    async def test_a_server_that_cannot_start_is_reported_with_its_log(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "server.py").write_text("raise SystemExit('no room here')")
        monkeypatch.setattr(server_contender, "REPOSITORY", tmp_path)
        ours = server_contender.ServerContender(contender.EngineSettings(tmp_path))
        try:
            with pytest.raises(contender.BenchmarkError, match=r"exit code 1\)\nno room here"):
                await ours.start()
        finally:
            await ours.stop()


class TestCommandLine:
    def test_defaults(self) -> None:
        args = run.parse_args([])
        assert (args.rounds, args.requests, args.length_cap) == (5, 64, 512)
        assert args.contenders == ["server", "openvino-genai"]
        assert args.plugin_config == {"KV_CACHE_PRECISION": "u8"}

    @pytest.mark.parametrize("flag", ["--rounds", "--requests", "--request_rate"])
    def test_numbers_must_be_positive(self, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            run.parse_args([flag, "0"])
        assert "0 is not greater than 0" in capsys.readouterr().err

    def test_the_peer_can_have_a_budget_of_its_own(self) -> None:
        args = run.parse_args(["--genai_max_num_batched_tokens", "512"])
        _, peer = run.make_contenders(args, contender.EngineSettings(Path("m")))
        assert isinstance(peer, genai_contender.GenaiContender)
        assert peer.settings.max_num_batched_tokens == 512

    def test_machine(self) -> None:
        assert machine.describe_machine()["num_cpus"]
        assert 0 <= machine.StealMeter().read_share() <= 1


class TestMakeModel:
    def test_every_merge_is_of_known_parts_and_makes_a_new_string(self) -> None:
        pytest.importorskip("transformers")
        vocab, merges = make_model.make_vocab(30_000, seed=0)
        assert len(vocab) == 30_000 - len(make_model.SPECIAL_TOKENS)
        assert sorted(vocab.values()) == list(range(len(vocab)))
        assert all(
            vocab[left] < vocab[left + right] and vocab[right] < 256 for left, right in merges
        )


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random model, exported with the tool that export_model uses."""
    pytest.importorskip("torch")
    exporters = pytest.importorskip("optimum.exporters.openvino")
    folder = tmp_path_factory.mktemp("tiny")
    source = make_model.make_model("tiny", folder / "source", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exporters.main_export(str(source), folder / "ir", task="text-generation-with-past")
    return folder / "ir"


async def test_genai_contender(tiny_model: Path) -> None:
    pytest.importorskip("openvino_genai")
    load = workload.Workload(
        8, contender.load_vocab_size(tiny_model), 0, length_cap=16, request_rate=500
    )
    settings = contender.EngineSettings(tiny_model, cache_size_gb=1)
    peer = genai_contender.GenaiContender(settings)
    rounds = await run.run_benchmark([peer], load, num_rounds=1, timeout_s=60)
    assert rounds["openvino-genai"][0]["output_tokens_per_s"] > 0


def test_micro_times_only_steps_in_which_every_sequence_decodes(tiny_model: Path) -> None:
    engine = LLMEngine(EngineConfig(tiny_model, num_kv_blocks=64, max_num_batched_tokens=32))
    try:
        measured = micro.measure_decode(
            engine, num_sequences=4, context=40, num_steps=7, seed=0, sampling={"temperature": 1.0}
        )
        assert not engine.has_work
    finally:
        engine.close()
    assert (measured["num_steps"], measured["tokens"]) == (7, 28)
    row = micro.render_row(measured)
    assert row.startswith("| 4 | ")
    assert row.count("|") == len(micro.COLUMNS) + 1
