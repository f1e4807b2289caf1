"""The built-in calculators. They enter by the `server.calculators` entry points, as a plug-in's do."""
