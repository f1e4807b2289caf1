"""Proves that a model answers in its PagedAttention form as its stateful IR does.

A process of its own, which `server --verify` and `export_model` start; nothing imports it.
"""
