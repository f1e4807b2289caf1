"""The built-in calculators; they enter by `server.calculators` entry points, as any plug-in."""
