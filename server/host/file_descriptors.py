"""How many files and sockets this process may have open."""

import sys

__all__ = ["raise_limit"]

# Some containers allow a billion; nothing here needs more than this.
MOST = 2**20


def raise_limit() -> int:
    """Raise the limit to what the system allows this process; returns it."""
    if sys.platform == "win32":
        return MOST
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
