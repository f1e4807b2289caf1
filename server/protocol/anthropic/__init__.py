"""Anthropic's Messages API: its blocks, its events and its answer.

Imported by `server.api`.
"""
