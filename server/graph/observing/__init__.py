"""How others can watch the nodes of a request, for traces.

Only `server.graph` imports it.
"""
