"""LoRA adapters of a running model: their files, their branches in its graph, their joined weights.

The engine imports it, and calculators for its settings.
"""
