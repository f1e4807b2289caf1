"""The front of several replicas: it routes requests to them, and joins what they tell.

Only `server.api` and `server.cli` import it.
"""
