"""What the C library is told of freed memory."""

from __future__ import annotations

import platform

import pytest

from seeworth import memory


def test_glibc_takes_what_it_is_told() -> None:
    assert memory.keep_freed_memory() is (platform.libc_ver()[0] == "glibc")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("there is no such library"))
    assert not memory.keep_freed_memory()
