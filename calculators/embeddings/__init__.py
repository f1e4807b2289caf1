"""Embeddings: what sentence-transformers' files say of a model, and how texts become rows.

Only the calculator of embeddings imports it.
"""
