"""Answers a text in capitals."""

from pyovms import Tensor


class OvmsPythonModel:
    def execute(self, inputs):
        text = bytes(inputs[0]).decode(errors="replace")
        return [Tensor("uppercase", text.upper().encode())]
