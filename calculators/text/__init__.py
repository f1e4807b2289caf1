"""Between text and tokens: chat templates, tokenizers, incremental text, stop strings.

The calculators import it, and `calculators.guided`.
"""
