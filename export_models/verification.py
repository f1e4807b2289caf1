"""Lets the engine compare an exported model with its form before PagedAttention."""

import os
from pathlib import Path

from export_models.progress import Progress
from export_models.tool import run_tool
from server.errors import ExportError

__all__ = ["verify_model"]

MODULE = "server.engine.verification"


def verify_model(folder: Path, progress: Progress) -> None:
    """Verify a model and report what is compared. Raises ExportError where answers differ.

    The work is done in a process of its own, so that a model that crashes ends nothing else.
    """

    def report(output: str) -> None:
        for line in output.splitlines():
            progress.step(line)
        progress.heartbeat("verifying the model", 1.0)

    paths = {"PYTHONPATH": os.pathsep.join([_package_folder(), os.environ.get("PYTHONPATH", "")])}
    result = run_tool(["-m", MODULE, str(folder)], paths, report)
    if result.return_code == 0:
        return
    lines = [line for line in result.log.splitlines() if line.startswith(str(folder))]
    reason = lines[-1] if lines else f"{folder}: the verification failed"
    raise ExportError(
        f"{reason} (all of it is in {result.log_path}); the model is not listed; --no_verify "
        "lists it all the same"
    )


def _package_folder() -> str:
    """Where the server's packages are: a script that is run from a checkout has no other way."""
    return str(Path(__file__).resolve().parents[1])
