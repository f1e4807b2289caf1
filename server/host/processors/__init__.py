"""The processors and NUMA nodes of this machine, and which of them a process uses.

Anybody may import it; it imports nothing of the project.
"""
