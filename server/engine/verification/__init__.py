"""Proves that a model answers in its PagedAttention form as its stateful IR does.

`server.cli` runs it; the engine reads the record of the last proof when it loads a model.
"""
