"""Decoders that were exported without a KV cache, as embedders are: they get one.

Part of `model`, which alone imports it.
"""
