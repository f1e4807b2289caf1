"""From logits to tokens: processors, greedy and random choice, log probabilities.

Knows sequences and logits; `model` and `requests` import it.
"""
