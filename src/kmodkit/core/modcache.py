r"""A cache of what was read from module files, so that a file that has not changed is not opened again.

The format is our own: a header, then for each file its path, what stat(2) says of it, and the three pieces that
indexes are made from; every number little-endian, a CRC-32 of all that stands before it at the end::

    cache = "kmodkit modules\n" u32 version, u32 count, entry{count}, u32 crc
    entry = u32 sizes of path, modinfo, exports, needs; i64 size, mtime_ns, ctime_ns; u64 inode, device; the four

A cache that is damaged, or of another version, raises CacheError: it is to be made anew. An entry is good for a
file as long as all that stat(2) says is the same, so neither the clock nor a rewrite of the same size matters.
"""

from __future__ import annotations

import zlib
from struct import Struct

from kmodkit.errors import CacheError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final, NamedTuple
else:
    from kmodkit.core.values import NamedTuple

_MAGIC: Final = b"kmodkit modules\n"
VERSION: Final = 1
_HEADER: Final = Struct("<16sII")
_ENTRY: Final = Struct("<4I3q2Q")
_CRC: Final = Struct("<I")


class FileState(NamedTuple):
    """What stat(2) says of a file that changes when its contents do; times in nanoseconds."""

    size: int
    mtime: int
    ctime: int
    inode: int
    device: int


class ModuleFacts(NamedTuple):
    """What indexes need of a module: its ``.modinfo``, and symbols with a NUL between them."""

    modinfo: bytes
    exports: bytes
    needs: bytes


Cache = dict[bytes, tuple[FileState, ModuleFacts]]
"""Facts by the path of the file."""


def encode_cache(cache: Mapping[bytes, tuple[FileState, ModuleFacts]]) -> bytes:
    """Return the bytes of a cache file, the same for equal caches."""
    parts = [_HEADER.pack(_MAGIC, VERSION, len(cache))]
    for path in sorted(cache):
        state, facts = cache[path]
        parts += (_ENTRY.pack(len(path), *map(len, facts), *state), path, *facts)
    body = b"".join(parts)
    return body + _CRC.pack(zlib.crc32(body))


def decode_cache(data: bytes, *, source: str | None = None) -> Cache:
    """Return the cache in the bytes of a file; raises CacheError."""
    if len(data) < _HEADER.size + _CRC.size:
        raise CacheError("cut short", offset=len(data), source=source)
    magic, version, count = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise CacheError("not a cache of modules", offset=0, source=source)
    if version != VERSION:
        raise CacheError(f"version {version} of the format, not {VERSION}", offset=len(_MAGIC), source=source)
    end = len(data) - _CRC.size
    if zlib.crc32(memoryview(data)[:end]) != _CRC.unpack_from(data, end)[0]:
        raise CacheError("the checksum is wrong", offset=end, source=source)
    cache: Cache = {}
    at = _HEADER.size
    for _ in range(count):
        if at + _ENTRY.size > end:
            raise CacheError("an entry is cut short", offset=at, source=source)
        path, modinfo, exports, needs, *state = _ENTRY.unpack_from(data, at)
        one = at + _ENTRY.size + path
        two = one + modinfo
        three = two + exports
        four = three + needs
        if four > end:
            raise CacheError("an entry is cut short", offset=at, source=source)
        facts = ModuleFacts(data[one:two], data[two:three], data[three:four])
        cache[data[one - path : one]] = (FileState._make(state), facts)
        at = four
    if at != end:
        raise CacheError("junk behind the last entry", offset=at, source=source)
    return cache
