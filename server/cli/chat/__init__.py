"""`server chat`: a chat in the terminal with a running server, or with a model folder.

Only `server.cli` imports it. It speaks HTTP, like any other client.
"""
