"""The uncompressed kernel inside a vmlinuz: it boots in half the time under emulation.

The layout of a bzImage is that of the kernel's ``Documentation/arch/x86/boot.rst``. QEMU starts an ELF kernel
directly only where it carries the Xen note for PVH entry, so others are left as they are.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import sys
import zlib
from typing import TYPE_CHECKING, Final

from kmodkit.errors import KtestError
from kmodkit.ktest.cache import cached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

_PT_NOTE: Final = 4
_XEN_PVH_ENTRY: Final = 0x12
_LIMIT: Final = 1 << 30
_SECTOR: Final = 512


def bootable(vmlinuz: Path, *, root: Path | None = None) -> Path:
    """Return the kernel file QEMU starts fastest: the cached vmlinux where it can be had, else ``vmlinuz``."""
    data = vmlinuz.read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:32]
    unpacked = cached(f"vmlinux-{digest}", lambda path: _write(path, data), root=root)
    # An empty file records that this kernel has to be started as it is.
    return unpacked if unpacked.stat().st_size else vmlinuz


def release_of(vmlinuz: Path) -> str:
    """Return the release a bzImage names in its header, as ``uname -r`` gives it.

    Raises KtestError for any other file.
    """
    with vmlinuz.open("rb") as file:
        head = file.read(0x10000)
    if head[0x202:0x206] != b"HdrS":
        raise KtestError(f"{vmlinuz}: no bzImage")
    at = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    text = head[at : at + 256].split(b"\0", 1)[0].decode("ascii", "replace")
    if not text.split():
        raise KtestError(f"{vmlinuz}: names no release")
    return text.split()[0]


def payload(vmlinuz: bytes) -> bytes | None:
    """Return the unpacked kernel of a bzImage; None for another file or a compression not known here."""
    if vmlinuz[0x202:0x206] != b"HdrS" or len(vmlinuz) < 0x250:
        return None
    sectors = vmlinuz[0x1F1] or 4
    offset, length = struct.unpack_from("<II", vmlinuz, 0x248)
    start = (sectors + 1) * _SECTOR + offset
    return _decompress(vmlinuz[start : start + length])


def has_pvh_note(kernel: bytes) -> bool:
    """Tell whether an ELF64 kernel carries the Xen note that gives a PVH entry point."""
    if kernel[:6] != b"\x7fELF\x02\x01" or len(kernel) < 64:
        return False
    (table,) = struct.unpack_from("<Q", kernel, 32)
    size, count = struct.unpack_from("<HH", kernel, 54)
    for index in range(count):
        at = table + index * size
        if at + 56 > len(kernel):
            return False
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", kernel, at)
        if kind == _PT_NOTE and (b"Xen\0", _XEN_PVH_ENTRY) in _notes(kernel[offset : offset + length]):
            return True
    return False


def _notes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield owner and type of each ELF note."""
    at = 0
    while at + 12 <= len(data):
        name_size, value_size, kind = struct.unpack_from("<III", data, at)
        yield data[at + 12 : at + 12 + name_size], kind
        at += 12 + (name_size + 3 & ~3) + (value_size + 3 & ~3)


def _decompress(data: bytes) -> bytes | None:
    """Unpack by magic number. The four bytes of size that follow the stream are left over."""
    zstd = _zstd()
    try:
        if data.startswith(b"\xfd7zXZ\0"):
            xz = lzma.LZMADecompressor()
            kernel, whole = xz.decompress(data, _LIMIT), xz.eof
        elif data.startswith(b"\x1f\x8b"):
            gzip = zlib.decompressobj(wbits=31)
            kernel, whole = gzip.decompress(data, _LIMIT), gzip.eof
        elif data.startswith(b"\x28\xb5\x2f\xfd"):
            frame = zstd.ZstdDecompressor()
            kernel, whole = frame.decompress(data, _LIMIT), frame.eof
        else:
            return None
    except (lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
        raise KtestError(f"the kernel's payload does not unpack: {error}") from error
    if not whole:
        raise KtestError("the kernel's payload does not unpack: it is cut short")
    return kernel


def _zstd() -> ModuleType:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _write(path: Path, vmlinuz: bytes) -> None:
    kernel = payload(vmlinuz)
    path.write_bytes(kernel if kernel is not None and has_pvh_note(kernel) else b"")
