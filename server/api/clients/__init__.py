"""Who asks: addresses, API keys and what each of them may do.

Only `server.api` and `server.cli` import it.
"""
