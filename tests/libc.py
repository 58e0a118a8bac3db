"""The oracle for patterns: this machine's own fnmatch(3), called with no flags in the C locale."""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)
_libc.fnmatch.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
_libc.fnmatch.restype = ctypes.c_int


def fnmatch(pattern: bytes, text: bytes) -> bool:
    """Return what libc says about ``text``; neither may hold a NUL byte."""
    assert 0 not in pattern
    assert 0 not in text
    answer: int = _libc.fnmatch(pattern, text, 0)
    return answer == 0
