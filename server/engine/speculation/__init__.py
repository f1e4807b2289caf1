"""Speculative decoding: guesses the next tokens of sequences, which a step then checks all at once.

Knows models, sequences and scheduling, no requests; only `server.engine.engine` imports it.
"""
