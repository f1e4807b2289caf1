"""Runs steps of many sizes before the first request comes."""

import logging
from time import monotonic

from server.engine.config import EngineConfig
from server.engine.model.model_runner import ModelRunner
from server.engine.model.stateful.stateful_runner import StatefulRunner
from server.engine.scheduling.step_costs import StepCosts
from server.errors import ModelLoadError
from server.host.openvino_errors import error_summary

logger = logging.getLogger(__name__)

MAX_TOKENS = 512
"""The largest step that runs at load; larger ones are slow enough to hide their first cost."""

TIME_S = 20.0
"""When so much time has passed, no further size is run."""

FIRST_PROGRESS = 0.75
"""How far the load is when warm-up begins."""


def warm_up(runner: ModelRunner | StatefulRunner, costs: StepCosts, config: EngineConfig) -> None:
    """Run a step of each size up to MAX_TOKENS: the first step of a size costs much more.

    Powers of two run a second time, which tells `costs` what they cost. Raises ModelLoadError where
    the model cannot run.
    """
    deadline = monotonic() + TIME_S
    sizes = list(runner.token_sizes.spread(MAX_TOKENS))
    try:
        for num_done, size in enumerate(sizes):
            if monotonic() > deadline:
                logger.debug(
                    "%s: warm-up stopped after %.0f s with %d of %d step sizes run; the first step "
                    "of another size will be slow",
                    *(config.models_path, TIME_S, num_done, len(sizes)),
                )
                return
            fraction = FIRST_PROGRESS + (1 - FIRST_PROGRESS) * num_done / len(sizes)
            config.report_progress("running the first steps", fraction)
            runner.warm_up(size)
            if size.bit_count() == 1:
                costs.observe(size, 0.0, runner.warm_up(size))
    except RuntimeError as error:
        raise ModelLoadError(
            f"{config.models_path}: OpenVINO cannot run it: {error_summary(error)}"
        ) from error
