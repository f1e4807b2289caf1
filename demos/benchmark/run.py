"""Measure this server against other engines on one machine, in alternating rounds.

Prints Markdown tables, and writes them to a folder with every figure of every round and the plots.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arguments import parse_args
from contender import BenchmarkError, Contender
from line_up import Entrant, find_entrants
from machine import StealMeter, describe_machine
from measure import (
    MeasureSettings,
    find_capacity,
    log,
    measure_workload,
    run_contenders,
    sweep,
)
from plots import write_plots
from random_model import load_vocab_size, prepare_ir
from report import OURS, render_report
from results import Results
from server_contender import parse_step_stats
from workloads import LoadSettings, Workload, find_workloads


async def choose_variants(
    entrants: Sequence[Entrant], settings: MeasureSettings, results: Results
) -> list[Contender]:
    """The best variant of each entrant in W1; one that has only one variant is not measured."""
    (workload,) = find_workloads(["W1"])
    chosen = []
    for entrant in entrants:
        label = next(iter(entrant.variants))
        if len(entrant.variants) > 1:
            found = await sweep(entrant.variants, workload, settings)
            if not found:
                raise BenchmarkError(f"{entrant.name}: no setting works; the reasons are above")
            results.sweeps[entrant.name] = found
            label = max(found, key=found.__getitem__)
        chosen.append(entrant.variants[label])
    return chosen


async def run(args: argparse.Namespace, results_path: Path) -> Results:
    """Run the whole benchmark; the file of results grows with every workload."""
    entrants = find_entrants(args)
    load = LoadSettings(load_vocab_size(args.model), args.seed, args.requests, args.length_cap)
    settings = MeasureSettings(load, args.limits, args.rounds, args.round_timeout, args.pause)
    results = Results(describe_machine(), settings, capacity_per_s=args.capacity)
    steal = StealMeter()
    of_sweep = replace(settings, load=replace(load, num_requests=args.sweep_requests))
    contenders = await choose_variants(entrants, of_sweep, results)
    processes = []
    try:
        async with run_contenders(contenders) as processes:
            results.add_contenders(processes)
            for workload in args.workloads:
                rate = find_rate(workload, results)
                measured = await measure_workload(processes, workload, settings, rate)
                results.add_workload(workload, rate, measured)
                if workload.name == "W1" and OURS in measured and measured[OURS].rounds:
                    results.capacity_per_s = args.capacity or find_capacity(measured[OURS])
                results.write(results_path)
    finally:
        results.add_contenders(processes)
    for process in processes:
        if process.name == OURS:
            results.step_stats = parse_step_stats(process.log)
    results.machine = {**results.machine, "steal_share": steal.read_share()}
    return results


def find_rate(workload: Workload, results: Results) -> float | None:
    """Requests per second of a workload that asks for a share of the capacity."""
    if workload.load_share is None:
        return None
    if results.capacity_per_s is None:
        raise BenchmarkError(
            f"{workload.name} needs the capacity: measure W1 with the server before it, or give "
            "--capacity"
        )
    return workload.load_share * results.capacity_per_s


async def run_until_signal(args: argparse.Namespace, results_path: Path) -> Results:
    """Like `run`, but SIGTERM stops the contenders as Ctrl-C does."""
    task = asyncio.create_task(run(args, results_path))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def write_output(results: Results, folder: Path) -> str:
    """Write results.json, results.md and the plots; return the tables."""
    results.write(folder / "results.json")
    plain = results.as_dict()
    report = render_report(plain)
    (folder / "results.md").write_text(report)
    try:
        for path in write_plots(plain, folder):
            log(f"plot: {path}")
    except ImportError as error:
        log(f"no plots ({error}); pip install matplotlib, or this package's [bench]")
    log(f"every figure: {folder / 'results.json'}")
    return report


def main() -> int:
    """Run the benchmark; return the exit code."""
    args = parse_args()
    try:
        args.model = args.model or prepare_ir(args.shape, args.weight_format, args.build_folder)
        results = asyncio.run(run_until_signal(args, args.output / "results.json"))
    except BenchmarkError as error:
        log(f"error: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        log("stopped")
        return 130
    print(write_output(results, args.output), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
