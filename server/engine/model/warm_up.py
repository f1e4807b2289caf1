"""Runs steps of every size before the first request comes."""

import logging
from pathlib import Path
from time import monotonic

from server.engine.model.model_runner import ModelRunner
from server.engine.scheduling.step_costs import StepCosts
from server.errors import ModelLoadError

logger = logging.getLogger(__name__)

MAX_TOKENS = 512
"""The largest step that runs at load: larger ones take so long that their first cost is little."""

TIME_S = 20.0
"""No further size is run when so much time has gone."""


def warm_up(runner: ModelRunner, costs: StepCosts, models_path: Path) -> None:
    """Run a step of each size for which the first one costs much more than the next.

    Of some sizes it runs a second one, to see what they cost. Raises ModelLoadError where the model
    cannot run.
    """
    deadline = monotonic() + TIME_S
    try:
        for size in runner.token_sizes.spread(MAX_TOKENS):
            runner.warm_up(size)
            if size.bit_count() == 1:
                costs.observe(size, 0.0, runner.warm_up(size))
            if monotonic() > deadline:
                logger.info("%s: not all sizes of steps are warm", models_path)
                break
    except RuntimeError as error:
        raise ModelLoadError(f"{models_path}: OpenVINO cannot run it: {error}") from error
