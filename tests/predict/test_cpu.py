"""What the C library is told on a CPU."""

from __future__ import annotations

import platform

import pytest

from seeworth.predict import cpu


def test_glibc_takes_what_it_is_told() -> None:
    assert cpu.keep_freed_memory() is (platform.libc_ver()[0] == "glibc")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: pytest.fail("there is no such library"))
    assert not cpu.keep_freed_memory()
