"""What the C library does with freed memory. Knows nothing of what the memory held."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory(megabytes: int = 2047) -> bool:
    """Keep up to so much freed memory for what comes next instead of giving it back; return whether the library took it.

    glibc gives every large tensor or picture fresh pages and takes them back right after, so that each step of a training and
    each photo of an import pays for thousands of page faults: a fifth of the step, a third of a decoding. Memory stays near
    its peak until the process ends. Does nothing where there is no glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL("libc.so.6").mallopt
    return all(mallopt(option, value) for option, value in ((_TRIM_THRESHOLD, megabytes << 20), (_MMAP_THRESHOLD, 32 << 20)))  # its most
