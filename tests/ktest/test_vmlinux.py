"""The kernel inside a vmlinuz."""

from __future__ import annotations

import gzip
import lzma
import struct
from typing import TYPE_CHECKING

import pytest

from kmodkit.errors import KtestError
from kmodkit.ktest.vmlinux import bootable, has_pvh_note, payload, release_of

if TYPE_CHECKING:
    from pathlib import Path


def elf(note_type: int = 0x12) -> bytes:
    """Return an ELF file that has nothing but a Xen note."""
    note = struct.pack("<III", 4, 8, note_type) + b"Xen\0" + bytes(8)
    head = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    )
    return head + struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(note), len(note), 4) + note


def bzimage(packed: bytes, release: bytes = b"6.1.0-test (builder) #1") -> bytes:
    """Return a boot sector and set-up code of one sector, with ``packed`` behind."""
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x20E, 0x60)
    struct.pack_into("<II", image, 0x248, 16, len(packed))
    image[0x260 : 0x260 + len(release) + 1] = release + b"\0"
    return bytes(image) + bytes(16) + packed


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(elf(), mtime=0), lzma.compress(elf()), lzma.compress(elf()) + b"\x78\0\0\0"],
    ids=["gzip", "xz", "xz with its size behind it"],
)
def test_payload_is_unpacked(packed: bytes) -> None:
    """Whatever compresses it; the four bytes of length behind are not part of it."""
    assert payload(bzimage(packed)) == elf()


def test_unknown_compression_is_left_alone(tmp_path: Path) -> None:
    """The kernel is then started as it is."""
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(b"\x89LZO" + bytes(100)))
    assert bootable(image, root=tmp_path / "cache") == image


def test_kernel_without_pvh_entry_is_left_alone(tmp_path: Path) -> None:
    """QEMU cannot start it directly."""
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(gzip.compress(elf(note_type=1))))
    assert bootable(image, root=tmp_path / "cache") == image


def test_kernel_with_pvh_entry_is_unpacked_once(tmp_path: Path) -> None:
    """The second call finds it in the cache."""
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(gzip.compress(elf())))
    found = bootable(image, root=tmp_path / "cache")
    assert found.read_bytes() == elf()
    assert bootable(image, root=tmp_path / "cache") == found


def test_damaged_payload_is_an_error() -> None:
    """It would not boot either."""
    with pytest.raises(KtestError, match="does not unpack"):
        payload(bzimage(lzma.compress(elf())[:40]) + bytes(100))


def test_truncated_elf_has_no_note() -> None:
    """No prefix of a kernel makes trouble."""
    assert not any(has_pvh_note(elf()[:length]) for length in range(120))
    assert has_pvh_note(elf())


def test_release_is_in_the_header(tmp_path: Path) -> None:
    """As ``uname -r`` will give it."""
    image = tmp_path / "vmlinuz"
    image.write_bytes(bzimage(b""))
    assert release_of(image) == "6.1.0-test"
    image.write_bytes(bytes(2048))
    with pytest.raises(KtestError, match="no bzImage"):
        release_of(image)
