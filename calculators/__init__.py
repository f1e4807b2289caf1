"""The built-in calculators. Like any plug-in, they enter by `server.calculators` entry points.

Plug-ins import `calculators.tags` and `calculators.output_parsers`; the server imports nothing.
"""
