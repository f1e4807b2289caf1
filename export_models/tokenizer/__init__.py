"""Converts tokenizers, and compares what they make of texts with what the source makes of them.

It imports transformers: only processes that an export starts import it.
"""
