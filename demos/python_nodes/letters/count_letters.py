"""How often each letter of the alphabet is in a text."""

import numpy as np

from pyovms import Tensor


class OvmsPythonModel:
    def initialize(self, kwargs):
        (self.output,) = kwargs["output_names"]

    def execute(self, inputs):
        text = bytes(inputs[0]).decode(errors="replace").lower()
        counts = [text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
        return [Tensor(self.output, np.array([counts], np.float32))]
