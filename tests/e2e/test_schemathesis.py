"""schemathesis generates requests from /openapi.json and checks the answers."""

import subprocess
import sys
from pathlib import Path

from support.server_process import ServerProcess

# The other prefixes have the same handlers.
OTHER_PREFIXES = r"^/(v1/(?!config|models/\{name\})|v3/v1/)"
# A request that satisfies the schema may still be refused, as a schema cannot say everything. And
# Allow lists the methods of all routes of a path, those of raw graphs too.
OTHER_CHECKS = "positive_data_acceptance,allow_header_conformance"


def test_it_finds_no_fault_of_the_server_and_nothing_undocumented(
    server: ServerProcess, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    command += ["--exclude-path-regex", OTHER_PREFIXES, "--exclude-checks", OTHER_CHECKS]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "25"]
    command += ["--generation-deterministic", "--continue-on-failure", "--request-timeout", "60"]
    # It writes files into its working directory.
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-10_000:] + result.stderr
    status, models = server.get("/v3/models")
    assert (status, len(models["data"])) == (200, 3)
