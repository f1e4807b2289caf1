"""The endpoints, one file for each interface.

Only `server.api` imports it.
"""
