"""What the C library does with freed memory. Knows nothing of what the memory held."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)


def keep_freed_memory(megabytes: int = 2047) -> bool:
    """Keep up to so much freed memory for what comes next instead of giving it back; return whether the library took it.

    glibc gives every large tensor or picture fresh pages and takes them back right after, so that each step of a training and
    each photo of an import pays for thousands of page faults: a fifth of the step, a third of a decoding. Memory stays near
    its peak until the process ends. Does nothing where there is no glibc.
    """
    return _told((_TRIM_THRESHOLD, megabytes << 20), (_MMAP_THRESHOLD, 32 << 20))  # its most


def share_freed_memory() -> bool:
    """Have all threads take memory from one heap, and what one frees serve the others; return whether the library took it.

    glibc gives threads heaps of their own, and none has what another has freed: each grows to a peak of its own. Threads that are there
    already may keep theirs, so this comes before torch is imported. Does nothing where there is no glibc.
    """
    return _told((_ARENA_MAX, 1))


def _told(*options: tuple[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL("libc.so.6").mallopt
    return all(mallopt(option, value) for option, value in options)
