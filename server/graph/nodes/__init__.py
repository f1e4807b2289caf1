"""The nodes of a loaded graph: opening and closing them, and what they work on.

Anything may import it that may import `server.graph`.
"""
