"""Connections of HTTP clients: accepting them, how many there may be, and how long they may wait.

Only `server.api` imports it.
"""
