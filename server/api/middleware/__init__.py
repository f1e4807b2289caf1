"""What every HTTP request passes: keys, CORS, timeouts, the access log.

Only `server.api` imports it.
"""
