"""Which tokens of which sequences the next step computes, and what a step costs.

Knows the KV cache and sequences; knows no model and no sampling.
"""
