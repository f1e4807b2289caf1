"""What the commands share: flags in either spelling, help in parts, completion, a progress bar.

`server.cli` and `export_models` import it.
"""
