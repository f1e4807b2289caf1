"""Python nodes of OpenVINO Model Server: their tensors, their handler files, their threads.

The calculators import it, and `pyovms`.
"""
