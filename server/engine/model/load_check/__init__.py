"""Compares the attention that config.json describes with what a transformed graph computes.

Without inference, at each load, and after it has restored what compression rounded. Only
server.engine.model uses it.
"""
