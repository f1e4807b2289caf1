"""Compares the attention that config.json describes with what a transformed graph computes.

At each load, without inference. First it restores the rotary frequencies that compression has
rounded. Only server.engine.model uses it.
"""
