"""One loaded model: compiling it for a device, tuning, and running one step on it.

`server.engine.requests` and `server.engine.engine` import it. OpenVINO is used here and in `kv`.
"""
