"""What the operating system gives: memory, huge pages, mapped files, CPU quotas.

Imports nothing of the project; the engine's other rooms import it.
"""
