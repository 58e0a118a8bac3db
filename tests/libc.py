"""The oracle for patterns: this machine's own fnmatch(3), called with no flags in the C locale."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LC_CTYPE_AND_COLLATE = 1 << 0 | 1 << 3  # glibc's LC_CTYPE_MASK and LC_COLLATE_MASK; the rest is of "C" as well
_libc = ctypes.CDLL(None)
_libc.newlocale.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_libc.newlocale.restype = ctypes.c_void_p
_libc.uselocale.argtypes = (ctypes.c_void_p,)
_libc.uselocale.restype = ctypes.c_void_p
_libc.fnmatch.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
_libc.fnmatch.restype = ctypes.c_int
_C_LOCALE = _libc.newlocale(_LC_CTYPE_AND_COLLATE, b"C", None)
assert _C_LOCALE


@contextlib.contextmanager
def c_locale() -> Iterator[None]:
    """Let this thread be in the C locale; Python has set that of the environment, where fnmatch reads UTF-8."""
    before = _libc.uselocale(_C_LOCALE)
    try:
        yield
    finally:
        _libc.uselocale(before)


def fnmatch(pattern: bytes, text: bytes) -> bool:
    """Return what libc says about ``text``; neither may hold a NUL byte."""
    assert 0 not in pattern
    assert 0 not in text
    with c_locale():
        answer: int = _libc.fnmatch(pattern, text, 0)
    return answer == 0
