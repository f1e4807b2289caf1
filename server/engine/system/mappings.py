"""The memory mappings of this process, and advice to the kernel about them."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A line of /proc/self/maps (proc(5)): addresses, permissions, and the file that is mapped.

    `device` is major:minor in hexadecimal; `inode` is 0 and `name` empty or in brackets where no
    file is mapped.
    """

    start: int
    end: int
    permissions: str
    device: str
    inode: int
    name: str

    @property
    def is_private_memory(self) -> bool:
        """Whether it is ordinary memory that this process reads and writes."""
        return self.permissions == "rw-p" and self.inode == 0


def read_mappings() -> list[Mapping]:
    """All mappings, ordered by address. Raises OSError where the system does not show them."""
    return [_parse(line) for line in Path("/proc/self/maps").read_text().splitlines()]


def advise(start: int, size: int, advice: int) -> bool:
    """Advise the kernel about a range of memory (madvise(2)); returns whether it accepts."""
    return bool(_libc.madvise(start, size, advice) == 0)


def _parse(line: str) -> Mapping:
    span, permissions, _, device, inode, name = f"{line} ".split(" ", 5)
    start, end = (int(address, 16) for address in span.split("-"))
    return Mapping(start, end, permissions, device, int(inode), name.strip())
