"""How texts become the rows of a reranker or classifier, and its numbers become scores.

The calculators of rerankers import it.
"""
