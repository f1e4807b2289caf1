"""Compares an exported model with its source: what torch says, and the tokens of texts.

What imports torch and transformers runs as a process of its own, which `verify_model` starts.
"""
