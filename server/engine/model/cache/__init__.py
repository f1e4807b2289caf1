"""Decides how much memory an engine reserves for KV blocks and states.

`server.engine.engine` imports `cache_plan`; the other rooms of `model` import `cache_sizing`.
"""
