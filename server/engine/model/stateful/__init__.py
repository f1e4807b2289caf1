"""Runs models that PagedAttention cannot express: one infer request for each sequence.

Part of `model`; only the engine and its loader import it.
"""
