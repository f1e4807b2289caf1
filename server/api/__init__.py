"""HTTP and gRPC: routes, streams, errors, settings. Knows no calculator, no engine and no tokens.

Only `server.cli` imports it; aiohttp is used nowhere else.
"""
