"""Who may connect: API keys and certificates, read again when their files change.

Only `server.cli` imports it.
"""
