"""One loaded model: compiled for its device, tuned, warmed up, and run step by step.

`server.engine.requests` and `server.engine.engine` import it.
"""
