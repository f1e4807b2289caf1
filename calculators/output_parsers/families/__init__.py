"""The built-in families of models, one file each. They enter by `server.output_parsers` entry
points, as a plug-in's do; nobody imports them by name.
"""
