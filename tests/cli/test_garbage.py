"""Modules are no garbage: collections, which stop all threads, leave them out."""

import subprocess
import sys

START_WITHOUT_A_LOOP = """
import asyncio, gc, sys
asyncio.new_event_loop = lambda: sys.exit(f"frozen: {gc.get_freeze_count()}")
sys.argv = ["server", "tiny_chat", "--rest_port", "0"]
from server.cli.main import main
main()
"""


def test_modules_are_left_out_of_the_collection_of_garbage() -> None:
    found = subprocess.run(
        [sys.executable, "-c", START_WITHOUT_A_LOOP],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    count = found.stderr.rpartition("frozen: ")[2]
    assert int(count) > 10_000, found.stderr
