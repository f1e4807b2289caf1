"""schemathesis generates requests from /openapi.json and checks the answers."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["count_statuses", "fields_of", "run_schemathesis"]

# The other prefixes have the same handlers.
OTHER_PREFIXES = r"^/(v1/(?!config|models/\{name\})|v3/v1/)"
# A request that satisfies the schema may still be refused, as a schema cannot say everything. And
# Allow lists the methods of all routes of a path, those of raw graphs too.
OTHER_CHECKS = "positive_data_acceptance,allow_header_conformance"


def run_schemathesis(
    url: str, folder: Path, max_examples: int = 25
) -> subprocess.CompletedProcess[str]:
    """Up to so many examples of each operation and phase; files are written into the folder."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--exclude-path-regex", OTHER_PREFIXES, "--exclude-checks", OTHER_CHECKS]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(max_examples)]
    command += ["--generation-deterministic", "--continue-on-failure", "--request-timeout", "60"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def count_statuses(log: Iterable[str]) -> Counter[str]:
    """The statuses in the lines of an access log."""
    lines = (line.partition(" server.access: ")[2].split() for line in log)
    return Counter(words[2] for words in lines if len(words) > 2)


def fields_of(document: dict[str, Any]) -> dict[str, list[str]]:
    """The names of the fields that each path of /openapi.json takes in JSON."""
    found = {}
    for path, methods in document["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        found[path] = sorted(_properties(document, schema))
    return found


def _properties(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _properties(document, document["components"]["schemas"][schema["$ref"][21:]])
    names = set(schema.get("properties", ()))
    for part in (*schema.get("anyOf", ()), *schema.get("allOf", ()), *schema.get("oneOf", ())):
        names |= _properties(document, part)
    return names
