"""cpio archives: made, read back, and compared with the cpio program."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from kmodkit.core.cpio import Entry, pack, unpack
from kmodkit.errors import CpioError
from tests.require import need

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = (
    Entry.directory("dir"),
    Entry.file("dir/empty", b""),
    Entry.file("dir/file", b"hello", mode=0o600),
    Entry.symlink("dir/link", "file"),
    Entry.device("null", 1, 3, mode=0o666),
    Entry("pipe", stat.S_IFIFO | 0o644),
    Entry.device("sda", 8, 0, block=True),
)


def archive(*entries: Entry, **options: bool | int | None) -> bytes:
    """Return the archive of ``entries``."""
    return b"".join(pack(entries, **options))  # type: ignore[arg-type]


def cpio(*options: str, stdin: bytes, cwd: Path | None = None) -> str:
    """Run the cpio program."""
    need(shutil.which("cpio"), "cpio is not installed", "cpio")
    done = subprocess.run(["cpio", "--quiet", *options], input=stdin, capture_output=True, cwd=cwd, check=True)
    return done.stdout.decode()


def test_what_is_packed_is_unpacked() -> None:
    """Every kind of entry survives."""
    assert unpack(archive(*ENTRIES)) == ENTRIES


def test_order_of_entries_is_of_no_consequence() -> None:
    """The archive is sorted, so directories come before what they hold."""
    assert archive(*reversed(ENTRIES)) == archive(*ENTRIES)


def test_inode_numbers_count_from_one() -> None:
    """They depend on the entries alone."""
    data = archive(Entry.file("a", b""), Entry.file("b", b""))
    assert [data[at + 6 : at + 14] for at in (0, 112)] == [b"00000001", b"00000002"]


def test_header_is_that_of_the_kernel_documentation() -> None:
    """Thirteen fields of eight hexadecimal digits after the magic number, name padded to four bytes."""
    ino, mode, owner, nlink, mtime, size = b"00000001", b"000081a4", b"0" * 16, b"00000001", b"0" * 8, b"00000002"
    devices, name_size, check = b"0" * 32, b"00000002", b"0" * 8
    header = b"070701" + ino + mode + owner + nlink + mtime + size + devices + name_size + check
    assert archive(Entry.file("a", b"xy", mode=0o644)).startswith(header + b"a\0" + b"xy\0\0")


@pytest.mark.parametrize(("clamp", "kept"), [(0, 0), (50, 50), (150, 100), (None, 100)])
def test_times_are_clamped(clamp: int | None, kept: int) -> None:
    """A time later than the one asked for becomes that one."""
    entry = Entry("a", stat.S_IFREG | 0o644, mtime=100)
    assert unpack(archive(entry, mtime=clamp))[0].mtime == kept


def test_parents_are_added_on_request() -> None:
    """Those that are given stay as they are."""
    names = {
        entry.name: entry.mode
        for entry in unpack(archive(Entry.directory("a", mode=0o700), Entry.file("a/b/c", b""), parents=True))
    }
    assert names == {"a": stat.S_IFDIR | 0o700, "a/b": stat.S_IFDIR | 0o755, "a/b/c": stat.S_IFREG | 0o644}


@pytest.mark.parametrize(
    "entries",
    [
        (Entry.file("a", b""), Entry.file("a", b"")),
        (Entry.file("/a", b""),),
        (Entry.file("", b""),),
        (Entry.file("a/../b", b""),),
        (Entry.file("./a", b""),),
        (Entry.file("a//b", b""),),
        (Entry.file("a/", b""),),
        (Entry.file("a\0b", b""),),
        (Entry.file("TRAILER!!!", b""),),
        (Entry.file("a" * 4096, b""),),
        (Entry.symlink("a", ""),),
        (Entry("a", stat.S_IFDIR | 0o755, b"data"),),
        (Entry("a", stat.S_IFREG, mtime=1 << 32),),
        (Entry("a", stat.S_IFREG, uid=-1),),
        (Entry.file("a", b""), Entry.file("a/b", b"")),
    ],
    ids=lambda entries: f"{len(entries)}:{entries[0].name[:12]!r}",
)
def test_impossible_entries_are_refused(entries: tuple[Entry, ...]) -> None:
    """Each error names the entry."""
    with pytest.raises(CpioError) as caught:
        pack(entries)
    assert caught.value.source is not None


def test_archives_may_follow_each_other() -> None:
    """The kernel takes several, with NULs between them."""
    one, two = archive(Entry.file("a", b"1")), archive(Entry.file("b", b"2"))
    joined = one + b"\0" * (512 - len(one) % 512) + two
    assert [entry.name for entry in unpack(joined)] == ["a", "b"]


def test_hard_links_share_their_data() -> None:
    """Only the last of the names carries it in the archive."""
    one = archive(Entry("a", stat.S_IFREG | 0o644, nlink=2), Entry("b", stat.S_IFREG | 0o644, b"data", nlink=2))
    one = one.replace(b"07070100000002", b"07070100000001", 1)
    assert [entry.data for entry in unpack(one)] == [b"data", b"data"]


@pytest.mark.parametrize("length", range(0, len(archive(*ENTRIES[:3])), 7))
def test_truncation_is_an_error_with_an_offset(length: int) -> None:
    """No prefix of an archive passes for one."""
    with pytest.raises(CpioError) as caught:
        unpack(archive(*ENTRIES[:3])[:length])
    assert caught.value.offset is not None


@pytest.mark.parametrize(
    "data",
    [
        b"070701" + b"0000000g" * 13,
        b"070701" + b"-0000001" * 13,
        b"070707" + b"0" * 104,
        b"070701" + b"0" * 104,
        b"070701" + b"f" * 104,
        b"\0\0" + archive(*ENTRIES),
        archive(*ENTRIES) + b"\x1f\x8b" + b"x" * 200,
    ],
)
def test_junk_is_refused(data: bytes) -> None:
    """A wrong magic number, digit, size, alignment, or something after the trailer."""
    with pytest.raises(CpioError):
        unpack(data)


def test_checksums_are_checked() -> None:
    """The variant 070702 has the sum of the data's bytes."""
    plain = archive(Entry.file("a", b"\x01\x02"))
    good = b"070702" + plain[6:102] + b"00000003" + plain[110:]
    assert unpack(good)[0].data == b"\x01\x02"
    with pytest.raises(CpioError, match="checksum"):
        unpack(good.replace(b"\x01\x02", b"\x01\x03"))


def test_the_cpio_program_lists_our_archive() -> None:
    """Names as they are."""
    assert cpio("-t", stdin=archive(*ENTRIES)).split() == [entry.name for entry in ENTRIES]


def test_the_cpio_program_extracts_our_archive(tmp_path: Path) -> None:
    """Contents, modes, times and links as they are."""
    cpio("-idm", stdin=archive(*ENTRIES[:4], mtime=1000), cwd=tmp_path)
    assert (tmp_path / "dir/file").read_bytes() == b"hello"
    assert stat.S_IMODE((tmp_path / "dir/file").stat().st_mode) == 0o600
    assert (tmp_path / "dir/file").stat().st_mtime == 0
    assert os.readlink(tmp_path / "dir/link") == "file"  # noqa: PTH115 - the text is meant


@pytest.mark.parametrize("form", ["newc", "crc"])
def test_we_read_what_the_cpio_program_writes(tmp_path: Path, form: str) -> None:
    """Both variants, a hard link among the files, padding at the end."""
    (tmp_path / "one").write_bytes(b"data" * 1000)
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    (tmp_path / "link").symlink_to("one")
    done = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", form],
        input=b"link\none\ntwo\n",
        capture_output=True,
        cwd=tmp_path,
        check=True,
    )
    found = {entry.name: entry.data for entry in unpack(done.stdout)}
    assert found == {"link": b"one", "one": b"data" * 1000, "two": b"data" * 1000}
