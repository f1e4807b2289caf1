"""Runs every client program against a server; writes the table into a page.

Usage: python table.py URL PAGE, with an interpreter that has requirements.txt installed, and the
packages of package.json in node_modules beside it. LITELLM_PROXY is the folder with the programs of
an environment that has requirements-proxy.txt.
"""

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from clients import CLIENTS, run_client, table_lines

BEGIN, END = "<!-- begin: clients -->", "<!-- end: clients -->"
NODE_MODULES = Path(__file__).parent / "node_modules"


def version_of(package: str) -> str:
    """The installed version of a package of PyPI or npm."""
    if package.startswith("npm: "):
        folder = NODE_MODULES / package.removeprefix("npm: ")
        return str(json.loads((folder / "package.json").read_text())["version"])
    if package == "litellm[proxy]":
        (packages,) = Path(os.environ["LITELLM_PROXY"]).parent.glob("lib/python*/site-packages")
        (proxy,) = distributions(name="litellm", path=[str(packages)])
        return proxy.version
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"


def main(url: str, page: Path) -> int:
    rows = {}
    for client in CLIENTS:
        rows[client.name] = run_client(client, url)
        print(f"{client.name}: {rows[client.name]}", flush=True)
    versions = {client.package: version_of(client.package) for client in CLIENTS}
    text = page.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    lines = "\n".join(table_lines(versions, rows))
    page.write_text(f"{head}{BEGIN}\n\n{lines}\n\n{END}{tail}")
    return int(any(found != "works" for row in rows.values() for found in row.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
