"""Runs models without a PagedAttention form: one infer request for each sequence.

Part of `model`; only the engine and its loader import it.
"""
