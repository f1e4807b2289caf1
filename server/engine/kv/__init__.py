"""KV blocks: the pool, each sequence's block table, and the tensors behind them.

Knows sequences; `scheduling` and `model` import it.
"""
