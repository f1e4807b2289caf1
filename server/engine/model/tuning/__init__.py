"""Finds the plugin properties that are fastest for a model on this machine, and remembers them.

`server.engine.engine` imports `tuned_model`, by which it loads its model.
"""
