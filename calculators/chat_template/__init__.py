"""A conversation as the text of a prompt, by the model's own Jinja template.

The calculators import it, and `calculators.text`.
"""
