"""Reads graph.pbtxt: its text, its options, and where in the text each part stands.

Only `server.graph` imports it; protobuf is used nowhere else.
"""
