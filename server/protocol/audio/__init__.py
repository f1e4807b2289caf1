"""OpenAI's audio endpoints: forms and JSON <-> payloads of speech.

server.api may import it.
"""
