"""A graph-configured model server: graphs of calculators, an LLM engine, an HTTP front."""
