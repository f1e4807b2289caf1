"""OpenAI's /responses: its input items, its events and its answer.

Imported by `server.api`.
"""
