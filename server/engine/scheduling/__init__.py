"""Which tokens of which sequences the next step computes, and what a step costs.

Knows the KV cache and sequences, no model and no sampling; `model` and `requests` import it.
"""
