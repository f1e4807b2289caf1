"""OpenTelemetry traces: a span for each request, with spans for its nodes and their phases.

Only `server.api` and `server.cli` import it. OpenTelemetry is an extra: only `settings` may be
imported where it is missing.
"""
