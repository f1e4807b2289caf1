"""Turns hidden states into logits: the second part of a model."""

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.model.model_loader import LoadedModel
from server.engine.sampling.logits import Logits
from server.engine.sampling.vocab_tiles import VocabTiles

__all__ = ["LogitsHead"]


class LogitsHead:
    """The infer request of a model's head; `reset` makes it. A model without one gives no rows."""

    _request: ov.InferRequest | None = None

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        properties = model.device.sampling_properties(model.layers)
        self._tiles = VocabTiles(model.output.num_tiles, model.output.tile_size, properties)
        self._last: Logits | None = None

    def reset(self) -> None:
        """Make a new infer request, for example after one has failed."""
        if self._model.head is not None:
            self._request = self._model.head.create_infer_request()

    def compute(self, hidden: ov.Tensor) -> Logits:
        """The logits of rows of hidden states; they are valid until the next call."""
        if self._request is None:
            return self.no_rows()
        self._infer(self._request, hidden)
        has_scales = len(self._request.model_outputs) > 1
        scales = _rows(self._request, 1, 1)[:, 0] if has_scales else None
        values = _rows(self._request, 0, self._tiles.num * self._tiles.size)
        self._last = Logits(values, self._model.output.vocab_size, self._tiles, scales)
        return self._last

    def likeliest(self, hidden: ov.Tensor) -> npt.NDArray[np.int64]:
        """The likeliest token of each row; NaN counts as the highest logit."""
        assert self._request is not None, "the model gives tokens"
        self._infer(self._request, hidden)
        # Scales are positive, and what is beyond the vocabulary is -inf.
        rows = _rows(self._request, 0, self._tiles.num * self._tiles.size)
        return np.asarray(rows.argmax(axis=1), np.int64)

    def _infer(self, request: ov.InferRequest, hidden: ov.Tensor) -> None:
        self.settle()
        request.set_input_tensor(hidden)
        # Without the copy of its outputs that `infer` makes by default.
        request.infer(share_outputs=True)

    def settle(self) -> None:
        """Let what waits for the last logits read them, before they become invalid."""
        if self._last is not None:
            self._last.settle()

    def no_rows(self) -> Logits:
        """The logits of a step that needs none."""
        none = np.empty((0, self._tiles.num * self._tiles.size), np.float32)
        return Logits(none, self._model.output.vocab_size, self._tiles)


def _rows(request: ov.InferRequest, index: int, width: int) -> npt.NDArray[np.float32]:
    """The rows of an output, without a copy."""
    rows: npt.NDArray[np.float32] = request.get_output_tensor(index).data
    return rows.reshape(-1, width)
