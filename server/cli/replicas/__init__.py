"""`--replicas`: several processes that serve the same models, and the front before them.

Only `server.cli` imports it.
"""
