"""Calculators that tell how many of them were being opened at once."""

import threading
import time
from typing import ClassVar

from server.graph import Calculator, Contract, OpenContext, Tag

INPUT, OUTPUT = Tag("IN", str), Tag("OUT", str)
GRAPH = """
input_stream: "IN:in" output_stream: "OUT:out"
node {{
  name: "Node" calculator: "support.loading_fakes:{calculator}"
  input_stream: "IN:in" output_stream: "OUT:out"
}}
"""


class LoadingCalculator(Calculator):
    """Waits in `open` for others to be there, and counts them."""

    contract: ClassVar[Contract] = Contract(inputs=(INPUT,), outputs=(OUTPUT,))
    lock = threading.Lock()
    num_opening = 0
    opened_with: ClassVar[list[tuple[str, int]]] = []

    def open(self, cc: OpenContext) -> None:
        cls = LoadingCalculator
        with cls.lock:
            cls.num_opening += 1
        time.sleep(0.3)
        with cls.lock:
            cls.opened_with.append((type(self).__name__, cls.num_opening))
        time.sleep(0.1)
        with cls.lock:
            cls.num_opening -= 1


class AloneCalculator(LoadingCalculator):
    """Opens alone."""

    contract: ClassVar[Contract] = Contract(inputs=(INPUT,), outputs=(OUTPUT,), opens_alone=True)
