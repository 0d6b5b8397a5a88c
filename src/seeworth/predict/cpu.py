"""What makes a model faster on a CPU, and has nothing to do with the model: how the C library handles freed memory."""

from __future__ import annotations

import ctypes
import platform

_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Keep what is freed for the next tensor instead of giving it back to the system; return whether the library took it.

    glibc gives every large tensor fresh pages and takes them back right after, so that each step of a training pays for
    thousands of page faults: a fifth of its time (docs/train.md). Memory stays at its peak until the process ends. Does
    nothing where there is no glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL("libc.so.6").mallopt
    return all(mallopt(option, value) for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)))
