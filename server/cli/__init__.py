"""The command `server`: flags, modes, logging, start and stop.

Nothing imports it but `server.__main__` and the installed command.
"""
