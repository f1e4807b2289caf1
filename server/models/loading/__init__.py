"""One load of a model: its checks, its turn among others, its nodes.

Only `server.models` and `server.cli` import it.
"""
