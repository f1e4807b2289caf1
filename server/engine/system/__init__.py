"""Services of the operating system: huge pages, mapped files.

Imports nothing of the project; the engine's other rooms import it.
"""
