"""Measure this server against openvino-genai on the same model, in alternating rounds.

Prints a Markdown table and writes every figure of every round to a JSON file.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contender import (
    BenchmarkError,
    Contender,
    EngineSettings,
    check_num_tokens,
    load_vocab_size,
)
from figures import compute_figures, compute_ratios, render_table, summarize
from genai_contender import GenaiContender
from machine import StealMeter, describe_machine
from make_model import SHAPES, make_model
from server_contender import REPOSITORY, ServerContender, StepStats
from workload import Workload

WARM_UP_ROUND = 0


async def run_benchmark(
    contenders: Sequence[Contender], workload: Workload, num_rounds: int, timeout_s: float
) -> dict[str, list[dict[str, float]]]:
    """Measure every contender in every round, after a warm-up round that is not counted."""
    rounds: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in contenders}
    async with contextlib.AsyncExitStack() as stack:
        for contender in contenders:
            log(f"{contender.name}: loading")
            stack.push_async_callback(contender.stop)
            await contender.start()
        for round_index in range(WARM_UP_ROUND, num_rounds + 1):
            for contender in contenders:
                figures = await measure_round(contender, workload, round_index, timeout_s)
                log(f"{contender.name}: {describe_round(round_index, num_rounds, figures)}")
                if round_index != WARM_UP_ROUND:
                    rounds[contender.name].append(figures)
    return rounds


async def measure_round(
    contender: Contender, workload: Workload, round_index: int, timeout_s: float
) -> dict[str, float]:
    """Run one round; raise BenchmarkError when it takes too long or a request came out short."""
    requests = workload.make_round(round_index)
    try:
        timings = await asyncio.wait_for(contender.run_round(requests), timeout_s)
    except TimeoutError as error:
        raise BenchmarkError(
            f"{contender.name}: round {round_index} took more than {timeout_s:g} s "
            "(--round_timeout)"
        ) from error
    check_num_tokens(contender.name, requests, timings)
    return compute_figures(timings)


def describe_round(round_index: int, num_rounds: int, figures: Mapping[str, float]) -> str:
    """Render one line of progress."""
    which = "warm-up" if round_index == WARM_UP_ROUND else f"round {round_index} of {num_rounds}"
    return (
        f"{which}: {figures['output_tokens_per_s']:.1f} output tok/s, "
        f"TTFT p50 {figures['ttft_p50_ms']:.0f} ms, TPOT p50 {figures['tpot_p50_ms']:.1f} ms"
    )


def render_step_stats(stats: StepStats) -> str:
    """Render what the server's engine counted."""
    return (
        f"Server, whole run with warm-up: {stats.num_steps} steps of "
        f"{stats.tokens / max(1, stats.num_steps):.1f} tokens on average; not inference: "
        f"{100 * stats.host_share:.1f}% of step time, {stats.host_ms_per_step:.2f} ms per step."
    )


def prepare_model(shape: str, weight_format: str, build_folder: Path) -> Path:
    """Make and export the random model unless that is done; return the folder of the IR."""
    model_name = f"{shape}-{weight_format}"
    repository = build_folder / "models"
    if not (repository / model_name / "openvino_model.xml").is_file():
        log(f"making and exporting a random model: {repository / model_name}")
        source = make_model(shape, build_folder / shape, seed=0)
        command = [
            *(sys.executable, str(REPOSITORY / "export_models" / "export_model.py")),
            *("text_generation", "--source_model", str(source), "--model_name", model_name),
            *("--model_repository_path", str(repository)),
            *("--config_file_path", str(repository / "config.json")),
            *("--weight-format", weight_format, "--kv_cache_precision", "u8"),
        ]
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            raise BenchmarkError(f"the export failed: {' '.join(command)}")
    return repository / model_name


def make_contenders(args: argparse.Namespace, settings: EngineSettings) -> list[Contender]:
    """Return the contenders asked for, in the order in which they take turns."""
    genai_settings = dataclasses.replace(
        settings,
        max_num_batched_tokens=args.genai_max_num_batched_tokens or args.max_num_batched_tokens,
    )
    made: dict[str, Contender] = {
        "server": ServerContender(settings),
        "openvino-genai": GenaiContender(genai_settings),
    }
    return [made[name] for name in args.contenders]


async def run(args: argparse.Namespace, model_path: Path) -> dict[str, Any]:
    """Run the whole benchmark; return what the JSON file holds."""
    settings = EngineSettings(
        model_path=model_path,
        plugin_config=args.plugin_config,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_num_seqs=args.max_num_seqs,
        cache_size_gb=args.cache_size,
    )
    workload = Workload(
        num_requests=args.requests,
        vocab_size=load_vocab_size(model_path),
        seed=args.seed,
        length_cap=args.length_cap,
        request_rate=args.request_rate,
    )
    machine = describe_machine()
    steal = StealMeter()
    contenders = make_contenders(args, settings)
    rounds = await run_benchmark(contenders, workload, args.rounds, args.round_timeout)
    ours, theirs = rounds.get("server"), rounds.get("openvino-genai")
    return {
        "settings": {**dataclasses.asdict(settings), **dataclasses.asdict(workload)},
        "genai_max_num_batched_tokens": args.genai_max_num_batched_tokens,
        "machine": {**machine, "steal_share": steal.read_share()},
        "rounds": rounds,
        "summary": {name: summarize(figures) for name, figures in rounds.items()},
        "ratios": compute_ratios(ours, theirs) if ours and theirs else None,
        "step_stats": next(
            (one.step_stats for one in contenders if isinstance(one, ServerContender)), None
        ),
    }


async def run_until_signal(args: argparse.Namespace, model_path: Path) -> dict[str, Any]:
    """Like `run`, but SIGTERM stops the contenders as Ctrl-C does."""
    task = asyncio.create_task(run(args, model_path))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def write_results(results: Mapping[str, Any], path: Path) -> None:
    """Write the JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2, default=_to_json) + "\n")
    log(f"every figure: {path}")


def _to_json(value: object) -> object:
    return dataclasses.asdict(value) if isinstance(value, StepStats) else str(value)


def log(message: str) -> None:
    """Report progress on standard error, so that standard output is only the table."""
    print(message, file=sys.stderr, flush=True)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    names = ("server", "openvino-genai")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, help="folder of an exported model; default: a random one is made")
    add("--shape", choices=SHAPES, default="qwen05b", help="shape of the random model")
    add("--weight-format", default="int8", help="of the random model, as export_model takes it")
    add("--build_folder", type=Path, default=Path("build/benchmark"), help="for made models")
    add("--contenders", nargs="+", choices=names, default=list(names))
    add("--rounds", type=_positive(int), default=5, help="measured rounds of each contender")
    add("--requests", type=_positive(int), default=64, help="requests in a round")
    add("--length_cap", type=_positive(int), default=512, help="longest prompt and output")
    add(
        "--request_rate",
        type=_positive(float),
        help="Poisson arrivals per second; default: all at once",
    )
    add("--seed", type=int, default=0, help="of the workload")
    add("--plugin_config", type=json.loads, default='{"KV_CACHE_PRECISION": "u8"}')
    add("--max_num_batched_tokens", type=_positive(int), default=256)
    add("--genai_max_num_batched_tokens", type=_positive(int), help="default: the same")
    add("--max_num_seqs", type=_positive(int), default=256)
    add("--cache_size", type=_positive(int), default=2, help="KV cache in GB")
    add("--round_timeout", type=_positive(float), default=900.0, help="seconds")
    add("--output", type=Path, default=Path("build/benchmark/results.json"), help="JSON file")
    return parser.parse_args(argv)


def _positive(number: type[int] | type[float]) -> Any:
    def parse(text: str) -> int | float:
        value = number(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
        return value

    return parse


def main() -> int:
    """Run the benchmark; return the exit code."""
    args = parse_args()
    try:
        model_path = args.model or prepare_model(args.shape, args.weight_format, args.build_folder)
        results = asyncio.run(run_until_signal(args, model_path))
    except BenchmarkError as error:
        log(f"error: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        log("stopped")
        return 130
    print(render_table(results["rounds"], results["ratios"]))
    if results["step_stats"]:
        print(f"\n{render_step_stats(results['step_stats'])}")
    write_results(results, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
