"""The built-in families of models, one file each.

Like a plug-in's, they enter by `server.output_parsers` entry points; no other room imports them.
"""
