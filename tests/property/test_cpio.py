"""Any entries survive being packed; no bytes do harm being unpacked."""

from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st

from kmodkit.core.cpio import Entry, pack, unpack
from kmodkit.errors import CpioError

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda raw: not set(raw) & set(b"\0/") and raw not in (b".", b"..", b"TRAILER!!!")
)
NUMBERS = st.integers(0, (1 << 32) - 1)
ENTRIES = st.builds(
    Entry,
    name=NAMES.map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    mode=st.integers(0, 0o7777).map(lambda bits: stat.S_IFREG | bits),
    data=st.binary(max_size=50),
    major=NUMBERS,
    minor=NUMBERS,
    uid=NUMBERS,
    gid=NUMBERS,
    mtime=NUMBERS,
)


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.name))
def test_pack_then_unpack(entries: list[Entry]) -> None:
    """The entries come back, sorted by the bytes of their names."""
    expected = sorted(entries, key=lambda entry: entry.name.encode("utf-8", "surrogateescape"))
    assert unpack(b"".join(pack(entries, mtime=None))) == tuple(expected)


@given(st.lists(ENTRIES, max_size=3, unique_by=lambda entry: entry.name), st.data())
def test_damage_is_noticed_or_harmless(entries: list[Entry], data: st.DataObject) -> None:
    """A changed byte gives other entries or a CpioError, never another exception."""
    packed = bytearray(b"".join(pack(entries)))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpack(packed)
    except CpioError as error:
        assert error.offset is None or 0 <= error.offset <= len(packed)
