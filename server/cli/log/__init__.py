"""The log of `server`: its flags, the form of its lines, and the thread that writes them.

Only `server.cli` imports it.
"""
