"""The order in which depmod writes symbols, and modules that ``modules.order`` does not list.

depmod keeps both in hash tables and writes them as they lie there: by the low bits of a hash, then by the
name. The hash is Paul Hsieh's SuperFastHash, as its author published it: 32 bits, which take in four
bytes at a time, read as two little-endian halves. (depmod reads them in the machine's order; a big-endian machine
orders the same names differently, and so does not write what we do.)
"""

from __future__ import annotations

from struct import unpack

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

SYMBOL_BUCKETS: Final = 2048
MODULE_BUCKETS: Final = 512
_WORD: Final = 0xFFFFFFFF
_LANE: Final = 8  # bytes to a name in the packed form, of which the lower four are in use


def bucket_order(names: Iterable[bytes], buckets: int) -> list[bytes]:
    """Return ``names``, which are distinct, in the order of a hash table of ``buckets``, a power of two."""
    by_size: dict[int, list[bytes]] = {}
    for name in names:
        by_size.setdefault(len(name), []).append(name)
    mask = buckets - 1
    placed: list[tuple[int, bytes]] = []
    for size, group in by_size.items():
        joined = b"".join(group)
        hashes = _hashes(joined, size, len(group)) if joined.isascii() else map(superfasthash, group)
        placed += [(value & mask, name) for value, name in zip(hashes, group, strict=True)]
    placed.sort()
    return [name for _, name in placed]


def superfasthash(data: bytes) -> int:
    """Return the hash of ``data``.

    >>> hex(superfasthash(b"printk"))
    '0x6a0863d1'
    """
    value = len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        low = data[at] | data[at + 1] << 8
        high = data[at + 2] | data[at + 3] << 8
        value = (value + low) & _WORD
        value ^= (value << 16 ^ high << 11) & _WORD
        value = (value + (value >> 11)) & _WORD
    rest = data[whole:]
    if rest:
        # The odd byte at the end is a signed one in C.
        odd = ((rest[-1] ^ 0x80) - 0x80) & _WORD
        value = (value + (odd if len(rest) == 1 else rest[0] | rest[1] << 8)) & _WORD
        if len(rest) == 3:
            value ^= (value << 16) & _WORD
            value ^= (odd << 18) & _WORD
        else:
            value ^= (value << (10 if len(rest) == 1 else 11)) & _WORD
        shift = {1: 1, 2: 17, 3: 11}[len(rest)]
        value = (value + (value >> shift)) & _WORD
    for left, right in ((3, 5), (4, 17), (25, 6)):
        value ^= (value << left) & _WORD
        value = (value + (value >> right)) & _WORD
    return value


def _hashes(joined: bytes, size: int, count: int) -> Iterable[int]:
    """Return the hashes of ``count`` ASCII names of ``size`` bytes each.

    All are computed at once in one large integer, a lane of 64 bits each: a step of the hash is then some ten
    operations for all names together, where one at a time takes 3 us a name, or 50 ms of a depmod's run.
    """
    ones = int.from_bytes(b"\1" + bytes(_LANE - 1), "little") if count == 1 else _lanes(b"\1" * count)
    words = ones * _WORD

    def low_bits(bits: int) -> int:
        return ones * ((1 << bits) - 1)

    def column(at: int, width: int) -> int:
        lanes = bytearray(_LANE * count)
        for byte in range(width):
            lanes[byte::_LANE] = joined[at + byte :: size]
        return int.from_bytes(lanes, "little")

    def add_shifted(value: int, shift: int) -> int:
        return (value + (value >> shift & low_bits(32 - shift))) & words

    value = ones * size
    whole = size & ~3
    for at in range(0, whole, 4):
        value = (value + column(at, 2)) & words
        value ^= (value << 16 ^ column(at + 2, 2) << 11) & words
        value = add_shifted(value, 11)
    rest = size - whole
    if rest:
        value = (value + column(whole, min(rest, 2))) & words
        if rest == 3:
            value ^= (value << 16) & words
            value ^= column(whole + 2, 1) << 18
        else:
            value ^= value << (10 if rest == 1 else 11) & words
        value = add_shifted(value, {1: 1, 2: 17, 3: 11}[rest])
    for left, right in ((3, 5), (4, 17), (25, 6)):
        value = add_shifted(value ^ (value << left & words), right)
    return unpack(f"<{count}Q", value.to_bytes(_LANE * count, "little"))


def _lanes(column: bytes) -> int:
    lanes = bytearray(_LANE * len(column))
    lanes[::_LANE] = column
    return int.from_bytes(lanes, "little")
