"""OpenVINO models of any kind: reading, ports, shapes, a pool of infer requests.

The calculators import it, and `calculators.text` and `calculators.encoders`.
"""
