"""Compares the attention that config.json describes with what a transformed graph computes.

Without inference, at each load. Only server.engine.model uses it.
"""
