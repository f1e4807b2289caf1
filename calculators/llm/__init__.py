"""Options and limits of the LLM nodes.

The calculators import it, and `export_models`.
"""
