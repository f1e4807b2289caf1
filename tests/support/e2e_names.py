"""Sizes that the end-to-end tests share."""

SMALL_BLOCKS = 20
"""KV blocks of the model `small`."""

SMALL_TOKENS = SMALL_BLOCKS * 32 + 1
"""Prompt and answer tokens that it holds; the KV of the last token is never needed."""
