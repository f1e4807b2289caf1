"""Rounds of a workload with every contender in turn."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from contender import BenchmarkError, Contender
from contender_process import HOST, ContenderProcess
from figures import Limits, RoundFigures, compute_figures
from load_generator import run_conversations
from workloads import LoadSettings, Workload

WARM_UP_ROUND = 0


@dataclass(frozen=True)
class MeasureSettings:
    """Settings of all workloads and contenders.

    `pause_s` is before each round: threads of the one before may spin for a second after its end.
    """

    load: LoadSettings
    limits: Limits = field(default_factory=Limits)
    num_rounds: int = 5
    round_timeout_s: float = 900.0
    pause_s: float = 0.0


@dataclass
class Measured:
    """The rounds of one contender in one workload; none if it failed."""

    warm_up: RoundFigures | None = None
    rounds: list[RoundFigures] = field(default_factory=list)
    failure: str | None = None

    def fail(self, reason: str) -> None:
        """Leave it out of this workload: an incomplete measurement says nothing."""
        self.rounds.clear()
        self.failure = reason


async def measure_workload(
    processes: Sequence[ContenderProcess],
    workload: Workload,
    settings: MeasureSettings,
    request_rate: float | None = None,
) -> dict[str, Measured]:
    """Measure every contender in every round, after a warm-up round that is kept apart.

    One that fails is started anew and takes no further part in this workload.
    """
    measured = {process.name: Measured() for process in processes}
    for index in range(WARM_UP_ROUND, settings.num_rounds + 1):
        for process in processes:
            own = measured[process.name]
            if own.failure is not None:
                continue
            try:
                figures = await measure_round(process, workload, settings, index, request_rate)
            except BenchmarkError as error:
                log(f"{workload.name}, {process.name}: {error}")
                own.fail(str(error))
                await process.stop()
                await process.start()
                continue
            log(f"{workload.name}, {process.name}: {describe_round(index, figures)}")
            if index == WARM_UP_ROUND:
                own.warm_up = figures
            else:
                own.rounds.append(figures)
    return measured


async def measure_round(
    process: ContenderProcess,
    workload: Workload,
    settings: MeasureSettings,
    round_index: int,
    request_rate: float | None = None,
) -> RoundFigures:
    """Run one round. Raises BenchmarkError if it takes too long or a request fails."""
    conversations = workload.make_round(settings.load, round_index, request_rate)
    await asyncio.sleep(settings.pause_s)
    try:
        async with asyncio.timeout(settings.round_timeout_s):
            timings = await run_conversations(
                HOST, process.port, process.contender.dialect, conversations
            )
    except TimeoutError as error:
        raise BenchmarkError(
            f"{process.name}: round {round_index} took more than "
            f"{settings.round_timeout_s:g} s (--round_timeout)"
        ) from error
    except (OSError, BenchmarkError) as error:
        raise BenchmarkError(f"{process.name}: {error}\n{process.read_log_end()}") from error
    return compute_figures(timings, settings.limits)


async def sweep(
    variants: Mapping[str, Contender], workload: Workload, settings: MeasureSettings
) -> dict[str, float]:
    """Output tok/s of each variant of a contender in one round, each in a fresh process."""
    found = {}
    settings = replace(settings, num_rounds=1)
    for label, variant in variants.items():
        async with run_contenders([variant]) as processes:
            measured = (await measure_workload(processes, workload, settings))[variant.name]
        if measured.rounds:
            found[label] = measured.rounds[0]["output_tokens_per_s"]
            log(f"sweep, {variant.name}, {label}: {found[label]:.1f} output tok/s")
    return found


@contextlib.asynccontextmanager
async def run_contenders(
    contenders: Sequence[Contender],
) -> AsyncIterator[list[ContenderProcess]]:
    """The running processes; all are stopped at the end, whatever happens."""
    processes = [ContenderProcess(contender) for contender in contenders]
    async with contextlib.AsyncExitStack() as stack:
        for process in processes:
            log(f"{process.name}: starting")
            stack.push_async_callback(process.stop)
            await process.start()
            log(f"{process.name}: ready after {process.ready_s:.1f} s")
        yield processes


def find_capacity(measured: Measured) -> float:
    """Requests per second of a contender, the median of its rounds."""
    return median(figures["requests_per_s"] for figures in measured.rounds)


def describe_round(round_index: int, figures: RoundFigures) -> str:
    """Render one line of progress."""
    which = "warm-up" if round_index == WARM_UP_ROUND else f"round {round_index}"
    return (
        f"{which}: {figures['output_tokens_per_s']:.1f} output tok/s, "
        f"TTFT p50 {figures['ttft_p50_ms']:.0f} p99 {figures['ttft_p99_ms']:.0f} ms, "
        f"TPOT p50 {figures['tpot_p50_ms']:.1f} ms"
    )


def log(message: str) -> None:
    """Report progress on standard error, so that standard output is only the tables."""
    print(message, file=sys.stderr, flush=True)
