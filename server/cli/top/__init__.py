"""`server top`: what a running server does, in the terminal.

Only `server.cli` imports it.
"""
