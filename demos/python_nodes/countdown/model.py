"""Counts down to 1, one answer for each number."""

import numpy as np

from pyovms import Tensor


class OvmsPythonModel:
    def execute(self, inputs):
        (start,) = np.array(inputs[0])
        for number in range(start, 0, -1):
            yield [Tensor("number", np.array([number], np.int32))]
        yield [Tensor("end_signal", b"")]
