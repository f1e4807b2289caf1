"""Time to the first token and between tokens, over the latency target, in simulated time.

No model runs: a table of what steps take stands for the machine (simulation/machine.py). Every
figure of this server is divided by that of chunked prefill, first come, first served, as
openvino-genai has it. Prints Markdown tables, one for each machine and workload.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from simulation.machine import MACHINES, Machine
from simulation.servers import Answer, FirstComeFirstServed, OurServer, run
from workloads import LoadSettings, Workload, find_workloads

TARGETS_MS = (0, 50, 100, 150, 200, 300, 500)
"""0 is no target."""

WORKLOADS = ("W1", "W2@0.75", "W5", "W6", "W7")

REQUEST_RATE = 1.0
"""Requests/s of W2."""

VOCAB_SIZE = 50_000


COLUMNS = ("TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99", "ITL p99", "long prompt", "output")


def figures_of(answers: Sequence[Answer]) -> list[float]:
    """The figures of a round, one for each of COLUMNS: seconds, but the output in tokens/s.

    What is background counts only in the TTFT of the long prompt, and in the output.
    """
    shown = [answer for answer in answers if not answer.is_background]
    longest = max(answers, key=lambda answer: answer.is_background)
    gaps = [np.diff(answer.token_s) for answer in shown]
    end_s, start_s = max(a.token_s[-1] for a in answers), min(a.arrival_s for a in answers)
    return [
        *np.percentile([answer.ttft_s for answer in shown], (50, 99)).tolist(),
        *np.percentile([of_answer.mean() for of_answer in gaps], (50, 99)).tolist(),
        float(np.percentile(np.concatenate(gaps), 99)),
        longest.ttft_s,
        sum(len(answer.token_s) for answer in answers) / (end_s - start_s),
    ]


def measure(
    machine: Machine, workload: Workload, target_s: float | None, num_rounds: int
) -> tuple[list[float], list[float]]:
    """Medians of this server's figures, and of their ratios to the other server's."""
    rounds, ratios = [], []
    for index in range(num_rounds):
        load = workload.make_round(LoadSettings(VOCAB_SIZE), index, request_rate=REQUEST_RATE)
        ours = np.array(figures_of(run(OurServer(machine, target_s), load)))
        rounds.append(ours)
        ratios.append(ours / figures_of(run(FirstComeFirstServed(machine), load)))
    return np.median(rounds, axis=0).tolist(), np.median(ratios, axis=0).tolist()


def print_table(machine: Machine, workload: Workload, targets_ms: Sequence[int], num: int) -> None:
    """A row for each target, and one for the target that follows from the machine."""
    print(f"\n{machine.name}, {workload.name}:\n")
    print(f"| target | {' | '.join(COLUMNS)} | ITL p99, ms |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    for target_ms in (None, *targets_ms):
        target_s = None if target_ms is None else target_ms / 1000
        ours, ratios = measure(machine, workload, target_s, num)
        name = "by the machine" if target_ms is None else f"{target_ms} ms"
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {name} | {cells} | {1000 * ours[COLUMNS.index('ITL p99')]:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets_ms", type=int, nargs="+", default=TARGETS_MS)
    parser.add_argument("--workloads", nargs="+", default=WORKLOADS)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for machine in MACHINES:
        for workload in find_workloads(args.workloads):
            print_table(machine, workload, args.targets_ms, args.rounds)


if __name__ == "__main__":
    main()
