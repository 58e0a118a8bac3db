"""newc cpio archives, the format of an initramfs, made and read as values.

The format is that of the kernel's ``Documentation/driver-api/early-userspace/buffer-format.rst``: for each
member a header of ASCII digits, the NUL-terminated name and the data, name and data each padded with NULs to
four bytes; a member named ``TRAILER!!!`` ends the archive. The kernel takes several archives one after
another, with NULs between them, and so does `unpack`.

An archive made by `pack` depends on its entries alone: they are sorted, so that every directory comes before
what it holds, inode numbers count from 1, and no time is later than the one asked for.
"""

from __future__ import annotations

import stat
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kmodkit.errors import CpioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_MAGIC: Final = b"070701"
_MAGIC_CRC: Final = b"070702"
_FIELDS: Final = (
    "ino",
    "mode",
    "uid",
    "gid",
    "nlink",
    "mtime",
    "size",
    "dev_major",
    "dev_minor",
    "rdev_major",
    "rdev_minor",
    "name_size",
    "check",
)
_FIELD_WIDTH: Final = 8
_HEADER_SIZE: Final = len(_MAGIC) + _FIELD_WIDTH * len(_FIELDS)
_TRAILER: Final = b"TRAILER!!!"
_LIMIT: Final = 1 << 32
# The kernel's PATH_MAX: init/initramfs.c passes over longer names and link targets without a word.
_PATH_MAX: Final = 4096
_HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of an archive.

    ``name`` is relative to the root (no leading ``/``); bytes that are not UTF-8 are surrogate escapes.
    ``mode`` holds the type and the permission bits as ``st_mode`` does, ``data`` the contents of a regular
    file or the target of a symbolic link, ``major`` and ``minor`` the number of a device node. ``mtime`` is in
    seconds since 1970.
    """

    name: str
    mode: int
    data: bytes = b""
    major: int = 0
    minor: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    nlink: int = 1

    @classmethod
    def file(cls, name: str, data: bytes, *, mode: int = 0o644) -> Entry:
        """Return a regular file with permission bits ``mode``."""
        return cls(name, stat.S_IFREG | mode, data)

    @classmethod
    def directory(cls, name: str, *, mode: int = 0o755) -> Entry:
        """Return a directory with permission bits ``mode``."""
        return cls(name, stat.S_IFDIR | mode, nlink=2)

    @classmethod
    def symlink(cls, name: str, target: str) -> Entry:
        """Return a symbolic link to ``target``."""
        return cls(name, stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape"))

    @classmethod
    def device(cls, name: str, major: int, minor: int, *, block: bool = False, mode: int = 0o600) -> Entry:
        """Return a character device, or with ``block`` a block device."""
        return cls(name, (stat.S_IFBLK if block else stat.S_IFCHR) | mode, major=major, minor=minor)


def pack(
    entries: Iterable[Entry],
    *,
    mtime: int | None = 0,
    parents: bool = False,
    contents: Callable[[Entry], bytes] | None = None,
) -> Iterator[bytes]:
    """Return the archive of ``entries`` piece by piece; joined, the pieces are the archive.

    Times later than ``mtime`` become ``mtime`` (None: they stay). With ``parents``, directories that are
    needed and not among the entries are added, owned by root, mode 0755. The order of ``entries`` is of no
    consequence. Every entry is checked before this function returns. ``contents`` is asked for the data of each
    regular file when its turn comes, so that one at a time is in memory.

    Raises CpioError for a name twice, a name or number the format or the kernel cannot take, and a parent that
    is no directory.
    """
    by_name: dict[bytes, Entry] = {}
    for entry in entries:
        raw = _checked_name(entry)
        if raw in by_name:
            raise CpioError("two entries have this name", source=entry.name)
        by_name[raw] = entry
    if parents:
        _add_parents(by_name)
    _check_parents(by_name)
    return _pieces([by_name[name] for name in sorted(by_name)], mtime, contents)


def unpack(buffer: bytes | bytearray | memoryview) -> tuple[Entry, ...]:
    """Return the members of all archives in ``buffer``, in their order; the trailers are left out.

    Hard links (one inode number, several names) all get the data, which the archive holds once. Names are
    given as they are stored: ``./usr``, ``..`` and absolute names are the caller's to judge.

    Raises CpioError with the offset where the buffer breaks the format or ends too early.
    """
    view = memoryview(buffer).cast("B")
    found: list[Entry] = []
    offset = _skip_zeros(view, 0)
    while offset < len(view):
        members, offset = _unpack_one(view, offset)
        found.extend(members)
        offset = _skip_zeros(view, offset)
    if not found and len(view) == 0:
        raise CpioError("empty, not an archive", offset=0)
    return tuple(found)


def _checked_name(entry: Entry) -> bytes:
    """Return the stored form of the entry's name."""
    raw = entry.name.encode("utf-8", "surrogateescape")
    if any(part in (b"", b".", b"..") for part in raw.split(b"/")) or b"\0" in raw or raw == _TRAILER:
        raise CpioError("not a relative path that an archive can hold", source=entry.name)
    if len(raw) >= _PATH_MAX or (stat.S_ISLNK(entry.mode) and not 0 < len(entry.data) < _PATH_MAX):
        raise CpioError("name or link target is longer than the kernel takes, or empty", source=entry.name)
    numbers = (entry.mode, entry.uid, entry.gid, entry.nlink, entry.mtime, entry.major, entry.minor)
    if not all(0 <= number < _LIMIT for number in (*numbers, len(entry.data))):
        raise CpioError("a number or the size does not fit in 32 bits", source=entry.name)
    if entry.data and not (stat.S_ISREG(entry.mode) or stat.S_ISLNK(entry.mode)):
        raise CpioError("data in an entry that is neither a file nor a link", source=entry.name)
    return raw


def _ancestors(name: bytes) -> Iterator[bytes]:
    """Yield the directories above ``name``, the nearest first."""
    while b"/" in name:
        name = name.rpartition(b"/")[0]
        yield name


def _add_parents(by_name: dict[bytes, Entry]) -> None:
    for name in tuple(by_name):
        for parent in _ancestors(name):
            if parent in by_name:
                break
            by_name[parent] = Entry.directory(parent.decode("utf-8", "surrogateescape"))


def _check_parents(by_name: dict[bytes, Entry]) -> None:
    """Reject an entry below a file or link: the kernel would drop it without a word."""
    for name, entry in by_name.items():
        parent = by_name.get(name.rpartition(b"/")[0]) if b"/" in name else None
        if parent is not None and not stat.S_ISDIR(parent.mode):
            raise CpioError(f"{parent.name} is above it and no directory", source=entry.name)


def _pieces(
    entries: Sequence[Entry], mtime: int | None, contents: Callable[[Entry], bytes] | None
) -> Iterator[bytes]:
    for ino, stored in enumerate(entries, 1):
        when = stored.mtime if mtime is None else min(stored.mtime, mtime)
        entry = replace(stored, mtime=when)
        if contents is not None and stat.S_ISREG(entry.mode):
            entry = replace(entry, data=contents(stored))
            if len(entry.data) >= _LIMIT:
                raise CpioError("a number or the size does not fit in 32 bits", source=entry.name)
        yield _header(entry, ino)
        if entry.data:
            yield entry.data
            yield b"\0" * (-len(entry.data) % 4)
    yield _header(Entry(_TRAILER.decode(), 0), 0)


def _header(entry: Entry, ino: int) -> bytes:
    """Return header and name, padded."""
    name = entry.name.encode("utf-8", "surrogateescape") + b"\0"
    numbers = {
        "ino": ino,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "nlink": entry.nlink,
        "mtime": entry.mtime,
        "size": len(entry.data),
        "rdev_major": entry.major,
        "rdev_minor": entry.minor,
        "name_size": len(name),
    }
    digits = b"".join(b"%08x" % numbers.get(field, 0) for field in _FIELDS)
    return _MAGIC + digits + name + b"\0" * (-(_HEADER_SIZE + len(name)) % 4)


def _skip_zeros(view: memoryview, offset: int) -> int:
    """Return the next offset that holds no NUL, looking at 4 KiB at a time."""
    while offset < len(view):
        block = bytes(view[offset : offset + 4096])
        rest = block.lstrip(b"\0")
        offset += len(block) - len(rest)
        if rest:
            break
    return offset


def _unpack_one(view: memoryview, start: int) -> tuple[list[Entry], int]:
    """Return the members of the archive at ``start`` and the offset after its trailer.

    Padding counts from the start of the archive, which the kernel wants at a multiple of four.
    """
    members: list[Entry] = []
    inodes: list[tuple[int, int, int]] = []
    offset = start
    while True:
        numbers = _read_header(view, offset)
        name, data, after = _read_body(view, offset, numbers)
        if name == _TRAILER:
            return _share_links(members, inodes), after
        members.append(
            Entry(
                name.decode("utf-8", "surrogateescape"),
                numbers["mode"],
                data,
                numbers["rdev_major"],
                numbers["rdev_minor"],
                numbers["uid"],
                numbers["gid"],
                numbers["mtime"],
                numbers["nlink"],
            )
        )
        inodes.append((numbers["dev_major"], numbers["dev_minor"], numbers["ino"]))
        offset = after


def _read_header(view: memoryview, offset: int) -> dict[str, int]:
    raw = bytes(view[offset : offset + _HEADER_SIZE])
    if len(raw) < _HEADER_SIZE:
        raise CpioError("ends inside a header, or without a trailer", offset=offset)
    if raw[: len(_MAGIC)] not in (_MAGIC, _MAGIC_CRC) or offset % 4:
        raise CpioError("no newc header here", offset=offset)
    digits = raw[len(_MAGIC) :]
    # int() also takes signs, spaces and underscores, which are no digits of this format.
    if not _HEX_DIGITS.issuperset(digits):
        raise CpioError("a header field is not hexadecimal", offset=offset)
    values = (int(digits[at : at + _FIELD_WIDTH], 16) for at in range(0, len(digits), _FIELD_WIDTH))
    return dict(zip(_FIELDS, values, strict=True))


def _read_body(view: memoryview, offset: int, numbers: dict[str, int]) -> tuple[bytes, bytes, int]:
    """Return name, data and the offset of the next header."""
    name_at = offset + _HEADER_SIZE
    name_end = name_at + numbers["name_size"]
    data_at = name_end + -name_end % 4
    data_end = data_at + numbers["size"]
    if name_end > len(view) or data_end > len(view):
        raise CpioError("a name or data reaches past the end", offset=offset)
    stored = bytes(view[name_at:name_end])
    name, nul, rest = stored.partition(b"\0")
    if not name or not nul or rest.strip(b"\0"):
        raise CpioError("a name is empty or not ended by a NUL", offset=name_at)
    data = bytes(view[data_at:data_end])
    if view[offset + 5] == ord("2") and stat.S_ISREG(numbers["mode"]) and data:
        total = sum(value * count for value, count in Counter(data).items())
        if total % _LIMIT != numbers["check"]:
            raise CpioError("data does not have the checksum of its header", offset=data_at)
    return name, data, data_end + -data_end % 4


def _share_links(members: list[Entry], inodes: list[tuple[int, int, int]]) -> list[Entry]:
    """Give every name of a hard-linked file its data, which only the last name carries."""
    contents = {
        inode: entry.data
        for entry, inode in zip(members, inodes, strict=True)
        if entry.nlink > 1 and entry.data and stat.S_ISREG(entry.mode)
    }
    return [
        replace(entry, data=contents[inode])
        if entry.nlink > 1 and not entry.data and stat.S_ISREG(entry.mode) and inode in contents
        else entry
        for entry, inode in zip(members, inodes, strict=True)
    ]
