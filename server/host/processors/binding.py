"""Keeps a process on its CPUs, and its memory on their NUMA node."""

import ctypes
import os
import platform

from server.host.processors.topology import Place

__all__ = ["bind_process"]

# Numbers of the system call set_mempolicy, which the C library does not offer (Linux, unistd.h).
SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237, "riscv64": 237}
MPOL_BIND = 2
BITS_OF_A_WORD = 8 * ctypes.sizeof(ctypes.c_ulong)


def bind_process(place: Place) -> str | None:
    """Bind this thread, and all that it starts later; call it before any other thread is started.

    Returns what could not be done, if anything. Linux gives a thread memory of the node where it
    runs as long as there is some, so that most of it is there without a policy too.
    """
    try:
        os.sched_setaffinity(0, place.cpus)
    except OSError as error:
        return f"it cannot be kept on its CPUs: {error.strerror}"
    if place.node is None:
        return None
    problem = _bind_memory(place.node)
    return problem and f"its memory cannot be kept on NUMA node {place.node}: {problem}"


def _bind_memory(node: int) -> str | None:
    """Take memory only from this node (set_mempolicy(2)); returns why that is not possible."""
    number = SET_MEMPOLICY.get(platform.machine())
    if number is None:
        return f"unknown on {platform.machine()}"
    words = (ctypes.c_ulong * (node // BITS_OF_A_WORD + 1))()
    words[node // BITS_OF_A_WORD] = 1 << node % BITS_OF_A_WORD
    libc = ctypes.CDLL(None, use_errno=True)
    # The kernel takes one bit less than it is told.
    num_bits = len(words) * BITS_OF_A_WORD + 1
    if libc.syscall(number, MPOL_BIND, ctypes.byref(words), ctypes.c_ulong(num_bits)) == 0:
        return None
    return os.strerror(ctypes.get_errno())
