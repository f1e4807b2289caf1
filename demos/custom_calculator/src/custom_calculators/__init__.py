"""Calculators for openvino-graph-server, as a package of its own."""
