"""The JSON of the endpoints that turn texts into vectors: OpenAI's, vLLM's and Cohere's.

Only `server.api` imports it.
"""
