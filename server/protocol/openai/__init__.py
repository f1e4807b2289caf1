"""OpenAI's chat/completions and completions: request fields, messages, tools, formats.

Imported by `server.api`, `server.llm` and `server.protocol.responses`.
"""
