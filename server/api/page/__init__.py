"""The page at `/` for people who look at the server: files for browsers, served as they are.

Only server.api.app imports it. The files in `web` are plain JavaScript modules that nothing builds.
"""
