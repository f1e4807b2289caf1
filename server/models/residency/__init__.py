"""Which models are in memory: idle ones are unloaded, and a request loads its model again.

Only `server.models` and `server.cli` import it.
"""
