"""Plug-ins for openvino-graph-server, in a package of their own."""
