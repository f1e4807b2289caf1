"""One loaded model: compiled for its device, tuned, warmed up, and run step by step.

`requests`, `verification` and `server.engine.engine` import it.
"""
