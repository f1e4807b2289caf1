"""What happens to one request: admission checks, its choices or its beams, its outputs.

Only `server.engine.engine` and `server.engine.async_engine` import it.
"""
