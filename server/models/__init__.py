"""From config.json to loaded models: reading, loading, reloading, watching files.

`server.api`, `server.llm`, `server.cli` and `export_models` import it.
"""
