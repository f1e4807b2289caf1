"""JSON of the published interfaces to payloads and back. Knows no HTTP and no engine.

`server.api` imports it, and `server.llm` for messages.
"""
