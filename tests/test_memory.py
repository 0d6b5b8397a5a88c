"""What the C library is told of freed memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from seeworth import memory


def test_glibc_takes_what_it_is_told() -> None:
    assert memory.keep_freed_memory() is (platform.libc_ver()[0] == "glibc")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("there is no such library"))
    assert not memory.keep_freed_memory()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_threads_share_one_heap_when_they_are_told() -> None:
    program = (
        "import ctypes, os, threading\n"
        "from seeworth.memory import share_freed_memory\n"
        "assert {told}\n"
        "library = ctypes.CDLL('libc.so.6')\n"
        "library.fdopen.restype = ctypes.c_void_p\n"
        "lists = [threading.Thread(target=lambda: [bytes(2000) for _ in range(1000)]) for _ in range(4)]\n"
        "[one.start() for one in lists], [one.join() for one in lists]\n"
        "file = ctypes.c_void_p(library.fdopen(1, b'w'))\n"
        "library.malloc_info(0, file), library.fflush(file)\n"
    )
    heaps = {}
    for told in ("share_freed_memory()", "True"):
        done = subprocess.run([sys.executable, "-c", program.format(told=told)], capture_output=True, text=True, check=True)
        heaps[told] = done.stdout.count("<heap nr=")
    assert heaps["share_freed_memory()"] == 1
    assert heaps["True"] > 1
