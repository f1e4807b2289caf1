"""What waits for a node that runs a model: how much of it, and whose turn it is.

Only `server.graph` imports it; calculators find it there.
"""
