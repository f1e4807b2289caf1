"""The states of one sequence, in an infer request of its own."""

from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from server.engine.model.stateful.state_form import StateForm
from server.engine.model.step_inputs import SAMPLED_ROWS_INPUT

Ints = npt.NDArray[np.int64]
Hidden = npt.NDArray[np.float32]


class SequenceState:
    """An infer request whose states hold the first `num_tokens` tokens of a sequence."""

    def __init__(self, layers: ov.CompiledModel, form: StateForm) -> None:
        self._request = layers.create_infer_request()
        self._form = form
        self.num_tokens = 0
        # What an encoder has made of the prompt: inputs of each computation.
        self.encoded: dict[str, npt.NDArray[Any]] = {}

    def copy_from(self, other: "SequenceState") -> None:
        """Take over what another sequence has read."""
        sources = {state.name: state for state in other._request.query_state()}
        for state in self._request.query_state():
            # A copy: the other sequence writes to its own tensor again.
            state.state = ov.Tensor(np.array(sources[state.name].state.data))
        self.num_tokens = other.num_tokens
        self.encoded = other.encoded

    def start(self, tokens: Ints, rows: Ints) -> None:
        """Begin to compute new tokens; `rows` of them are those whose hidden states are needed."""
        arrays = self._form.arrays(tokens, self.num_tokens, self.encoded)
        for name, array in {**arrays, SAMPLED_ROWS_INPUT: rows}.items():
            self._request.set_tensor(name, ov.Tensor(array))
        self._request.start_async()
        self.num_tokens += len(tokens)

    def wait(self) -> None:
        """Wait until what `start` has begun is computed; raises RuntimeError if it failed."""
        self._request.wait()

    def hidden_rows(self) -> Hidden:
        """f32[rows, hidden size]: a copy of what the last computation gave."""
        data = self._request.get_output_tensor(0).data
        return np.array(data, np.float32).reshape(-1, data.shape[-1])
