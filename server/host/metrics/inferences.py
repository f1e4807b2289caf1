"""What the inferences of models that take tensors count, by the model."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from server.host.metrics.histogram import Histogram

__all__ = ["INFERENCES", "OVMS_BOUNDS_US", "InferenceNumbers", "Inferences"]

OVMS_BOUNDS_US = tuple(10 * 1.8**power for power in range(33))
"""The upper bounds of Model Server's histograms, in microseconds."""

MAX_MODELS = 256


@dataclass(eq=False, slots=True)
class InferenceNumbers:
    """Of one model: its infer requests, those in use, and times. The event loop writes them."""

    num_requests: int = 0
    num_active: int = 0
    waits_us: Histogram = field(default_factory=lambda: Histogram(OVMS_BOUNDS_US))
    inferences_us: Histogram = field(default_factory=lambda: Histogram(OVMS_BOUNDS_US))

    @contextmanager
    def infer(self, began_s: float) -> Iterator[None]:
        """The block is an inference that has waited since `began_s`, a time of perf_counter."""
        started_s = perf_counter()
        self.waits_us.observe((started_s - began_s) * 1e6)
        self.num_active += 1
        try:
            yield
        finally:
            self.num_active -= 1
            self.inferences_us.observe((perf_counter() - started_s) * 1e6)


class Inferences:
    """The numbers of a model go on when it is loaded again."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, InferenceNumbers] = OrderedDict()

    def open(self, model: str, num_requests: int) -> InferenceNumbers:
        """The numbers of a model that was loaded with so many infer requests."""
        if not model:
            return InferenceNumbers(num_requests)
        numbers = self._models.pop(model, None) or InferenceNumbers()
        numbers.num_requests = num_requests
        self._models[model] = numbers
        while len(self._models) > MAX_MODELS:
            self._models.popitem(last=False)
        return numbers

    def by_model(self) -> Mapping[str, InferenceNumbers]:
        """The numbers of the models that were opened."""
        return dict(self._models)


INFERENCES = Inferences()
