"""Pieces of bytes in one: their count and lengths, each a 64-bit number in the machine's order, then all of them.

It is for what one machine writes for itself: the answers of a child process, and notes for the next run.
"""

from __future__ import annotations

from array import array
from itertools import accumulate, pairwise

from kmodkit.errors import CacheError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Sequence


def pack(pieces: Sequence[bytes]) -> bytes:
    """Return ``pieces`` in one."""
    return b"".join((array("Q", [len(pieces), *map(len, pieces)]).tobytes(), *pieces))


def unpack(data: bytes) -> list[bytes]:
    """Return the pieces in ``data``; raises CacheError where it is not what `pack` gives."""
    if len(data) < 8:
        raise CacheError("pieces are cut short", offset=len(data))
    count = array("Q", data[:8])[0]
    start = 8 * (count + 1)
    if start > len(data):
        raise CacheError("pieces are cut short", offset=len(data))
    ends = list(accumulate(array("Q", data[8:start]), initial=start))
    if ends[-1] != len(data):
        raise CacheError("pieces are longer or shorter than they are said to be", offset=start)
    return [data[one:other] for one, other in pairwise(ends)]
