"""Text encoders: models that read whole texts at once, batched across requests.

The calculators of embeddings and of reranking import it.
"""
