"""Weight formats and full quantisation with NNCF.

Only `export_models` imports it.
"""
