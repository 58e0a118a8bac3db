"""Streams of bytes compressed on their way to a file, the same bytes for the same input everywhere."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, Protocol

from kmodkit.errors import ArgumentError
from kmodkit.kernel.files import zstd_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Compression = Literal["none", "gz", "xz", "zst"]
LEVELS: Final = {"gz": (0, 9, 9), "xz": (0, 9, 6), "zst": (1, 22, 9)}
"""The lowest, highest and default level of each."""

_GZIP: Final = 31
_PIECE: Final = 1 << 20


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@contextmanager
def compressed(
    write: Callable[[bytes], object], kind: Compression, *, level: int | None = None, jobs: int | None = None
) -> Iterator[Callable[[bytes], object]]:
    """Give a function that writes compressed to ``write``; the end of the block ends the stream.

    Headers hold no name and no time. xz has a CRC32 check, since the kernel's decoder knows no other. zstd works
    in pieces that do not depend on ``jobs``, its number of threads (by default as many as there are
    processors). Raises ArgumentError for a level that the format does not have.
    """
    if kind == "none":
        yield write
        return
    lowest, highest, default = LEVELS[kind]
    level = default if level is None else level
    if not lowest <= level <= highest:
        raise ArgumentError(f"{kind} has levels {lowest} to {highest}, not {level}")
    compressor = _compressor(kind, level, jobs or len(os.sched_getaffinity(0)))

    def squeeze(data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            write(compressor.compress(data[at : at + _PIECE]))

    yield squeeze
    write(compressor.flush())


def _compressor(kind: str, level: int, jobs: int) -> _Compressor:
    if kind == "gz":
        return zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    if kind == "xz":
        import lzma

        return lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC32, preset=level)
    zstd = zstd_module()
    parameter = zstd.CompressionParameter
    # From one worker on the stream is cut into jobs of a size that the level gives; without, it is not cut.
    options = {
        parameter.compression_level: level,
        parameter.nb_workers: min(max(jobs, 1), parameter.nb_workers.bounds()[1]),
        parameter.checksum_flag: 1,
    }
    compressor: _Compressor = zstd.ZstdCompressor(options=options)
    return compressor
