"""Checks a whole graph before anything runs: names, ports, types, cycles, options.

Only `server.graph` imports it.
"""
