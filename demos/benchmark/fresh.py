"""Compare the first minute of a fresh server with that of another one.

The other one is the server without padded and warmed-up steps, or openvino-genai's engine. Requests
with lengths like ShareGPT's come at random to a server that has just become ready; then it is
stopped, and the other kind starts. `--rate 0` sends none. Prints a Markdown table.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contender import Contender, Launch
from figures import FIGURES, Figure, RoundFigures, compute_ratios, summarize
from genai_contender import GenaiContender
from measure import MeasureSettings, log, measure_round, run_contenders
from random_model import load_vocab_size, prepare_ir
from server_contender import ServerContender
from workloads import LoadSettings, find_workloads

MINUTE_S = 60.0
COLUMNS = (Figure("ready_s", "time to ready, s", 1), *FIGURES)


@dataclass(frozen=True)
class UnpaddedServer(ServerContender):
    """The server without padding and warm-up, from unpadded_server.py."""

    def prepare_launch(self, port: int, folder: Path) -> Launch:
        """The server's command, with another program."""
        launch = super().prepare_launch(port, folder)
        python, _, _, *flags = launch.command
        script = Path(__file__).with_name("unpadded_server.py")
        return Launch([python, str(script), *flags], launch.environment)


async def measure(
    servers: Sequence[Contender], model: Path, rate: float, num_rounds: int
) -> dict[str, list[RoundFigures]]:
    """The figures of each server's first minute, one for each round.

    The servers take turns. Before them, the first one starts unmeasured: it tunes the model and
    brings the files into memory.
    """
    workload = find_workloads(["W2"])[0]
    load = LoadSettings(load_vocab_size(model), num_requests=max(1, round(rate * MINUTE_S)))
    settings = MeasureSettings(load, num_rounds=num_rounds)
    async with run_contenders(servers[:1]):
        pass
    measured: dict[str, list[RoundFigures]] = {server.name: [] for server in servers}
    for index in range(num_rounds):
        for server in servers:
            async with run_contenders([server]) as (process,):
                figures: RoundFigures = {"ready_s": process.ready_s}
                if rate:
                    figures |= await measure_round(process, workload, settings, index, rate)
            measured[server.name].append(figures)
            log(f"round {index + 1}, {server.name}: ready after {process.ready_s:.1f} s")
    return measured


def render(measured: dict[str, list[RoundFigures]]) -> str:
    """A Markdown table: medians with extremes, and ratios of the first to the second server."""
    first, second = measured
    spreads = [summarize(rounds) for rounds in measured.values()]
    spreads.append(compute_ratios(measured[first], measured[second]))
    lines = [f"| | {first} | {second} | ratio |", "| --- | --- | --- | --- |"]
    for figure in COLUMNS:
        cells = []
        for spread, digits in zip(spreads, (figure.digits, figure.digits, 2), strict=True):
            found = spread.get(figure.name)
            numbers = [f"{found[name]:.{digits}f}" for name in found] if found else []
            cells.append("{} ({} - {})".format(*numbers) if numbers else "")
        lines.append(f"| {figure.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of an exported model; default: qwen05b")
    parser.add_argument("--build_folder", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--plugin_config", type=json.loads, default={"KV_CACHE_PRECISION": "u8"})
    parser.add_argument("--other", choices=("unpadded", "openvino-genai"), default="unpadded")
    parser.add_argument("--rate", type=float, default=1.0, help="requests per second")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = args.model or prepare_ir("qwen05b", "int8", args.build_folder)
    others: dict[str, Contender] = {
        "unpadded": UnpaddedServer(model, args.plugin_config, name="not padded, not warm"),
        "openvino-genai": GenaiContender(model, args.plugin_config),
    }
    servers = [ServerContender(model, args.plugin_config), others[args.other]]
    print(render(asyncio.run(measure(servers, model, args.rate, args.rounds))))


if __name__ == "__main__":
    main()
