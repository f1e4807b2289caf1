"""What a model is for that is about to be exported: what was said, or what its files show."""

import logging
import re
import subprocess
import sys
from pathlib import Path

from server.cli.model_arguments import ModelArguments
from server.errors import ConfigError
from server.models.tasks import TASKS, TEXT_GENERATION, Task, find_source_task, find_task

__all__ = ["find_export_task"]

logger = logging.getLogger(__name__)

# An id of the Hub, as export_models/source.py has it.
HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
LOOK_UP = "export_models.conversion.hub_task"
LOOK_UP_TIMEOUT_S = 120


def find_export_task(models: ModelArguments) -> Task:
    """The task to export for. Raises ConfigError where a model on the Hub cannot be looked at."""
    if models.task is not None:
        return TASKS[models.task]
    exported = find_task(models.served_path)
    if exported is not None or models.source_model is None:
        return exported or TEXT_GENERATION
    source = Path(models.source_model).expanduser()
    if source.is_dir():
        return find_task(source) or find_source_task(source)
    if not HUB_ID.fullmatch(models.source_model):
        # A folder that is not there: the export says so.
        return TEXT_GENERATION
    return _look_up(models.source_model)


def _look_up(source: str) -> Task:
    """Ask the Hub, in a process that has the packages for it."""
    command = [sys.executable, "-P", "-m", LOOK_UP, source]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=LOOK_UP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _unknown(source, f"the Hub did not answer in {LOOK_UP_TIMEOUT_S} s") from error
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise _unknown(source, lines[-1][:300])
    task = TASKS[result.stdout.strip().splitlines()[-1]]
    logger.info("%s is taken for a model for %s; --task says it otherwise", source, task.name)
    return task


def _unknown(source: str, reason: str) -> ConfigError:
    return ConfigError(f"what is {source} for? {reason}; --task says it")
