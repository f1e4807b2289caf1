"""schemathesis generates requests from /openapi.json and checks the answers."""

from pathlib import Path

from hostile.schema_fuzz import run_schemathesis
from support.server_process import ServerProcess


def test_it_finds_no_fault_of_the_server_and_nothing_undocumented(
    server: ServerProcess, tmp_path: Path
) -> None:
    result = run_schemathesis(server.url, tmp_path)
    assert result.returncode == 0, result.stdout[-10_000:] + result.stderr
    status, models = server.get("/v3/models")
    assert (status, len(models["data"])) == (200, 3)
