"""Sections of an ELF file, of either class and byte order, on any host.

Only what module tools need: the header, the section table and section contents, as in elf(5). Input is
taken through a `Read` function, so that a plain file can be read in a few small pieces. Everything is
checked against the size of the input before it is used.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from struct import Struct

from kmodkit.errors import ElfError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from dataclasses import dataclass
    from typing import Final, NamedTuple, TypeAlias
else:
    from kmodkit.core.values import NamedTuple, dataclass

Read: TypeAlias = Callable[[int, int], bytes]
"""``read(offset, size)``: the bytes there, fewer only where the input ends."""

SHT_NULL: Final = 0
SHT_NOBITS: Final = 8
# Far above what any kernel has (a few hundred KiB); a hostile size is refused before it is read.
MAX_STRINGS: Final = 1 << 22
MAX_MODINFO: Final = 1 << 24
"""How large a ``.modinfo`` section may be, in bytes."""


class _Layout(NamedTuple):
    order: str
    header: Struct  # e_type e_machine e_shoff e_flags e_shentsize e_shnum e_shstrndx
    section: Struct  # sh_name sh_type sh_flags sh_offset sh_size sh_link sh_info sh_entsize


_LAYOUTS: Final[dict[bytes, _Layout]] = {
    bytes([bits, data]): _Layout(name, Struct(order + header), Struct(order + section))
    for bits, header, section in (
        (1, "16x HH 12x I I 6x HHH", "II I 4x II II 4x I"),
        (2, "16x HH 20x Q I 6x HHH", "II Q 8x QQ II 8x Q"),
    )
    for data, order, name in ((1, "<", "little"), (2, ">", "big"))
}
_IDENT_SIZE = 16
HEAD: Final = 64
"""The size of the largest header."""


class Section(NamedTuple):
    """One entry of the section table: sizes and offsets in bytes, ``name`` an offset into the names."""

    name: int
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    entsize: int


@dataclass(frozen=True, slots=True)
class Elf:
    """An ELF file whose header and section table have been read."""

    read: Read
    file_size: int
    bits: int
    byteorder: str
    type: int
    machine: int
    table: bytes
    names: bytes
    section_struct: Struct
    starts: Sequence[int]
    """Of each section, where in ``names`` its name begins."""

    @classmethod
    def parse(cls, read: Read, file_size: int, head: bytes | None = None) -> Elf:
        """Read the header and the section table of an input of ``file_size`` bytes.

        ``head`` is what it begins with, where that has been read: `HEAD` bytes, or all of a shorter input.
        Raises ElfError with the offset of what is wrong. The extended section numbering of ELF (over 65,279
        sections) is refused, as it is by the kernel's module loader (kernel/module/main.c).
        """
        if head is None:
            head = read(0, HEAD)
        layout = _LAYOUTS.get(head[4:6])
        if head[:4] != b"\x7fELF":
            raise ElfError("not an ELF file", offset=0)
        if layout is None:
            raise ElfError("unknown ELF class or byte order", offset=4)
        if len(head) < layout.header.size:
            raise ElfError("ELF header is cut short", offset=len(head))
        kind, machine, offset, _flags, entsize, count, names_index = layout.header.unpack_from(head)
        bits = 32 if layout.section.size == 40 else 64
        at = 0x2E if bits == 32 else 0x3A  # of e_shentsize, with e_shnum and e_shstrndx behind it
        if count == 0:
            raise ElfError("no section table", offset=at + 2)
        if entsize != layout.section.size:
            raise ElfError(f"section headers of {entsize} bytes, not {layout.section.size}", offset=at)
        if offset < layout.header.size or offset + count * entsize > file_size:
            raise ElfError("section table lies outside of the file", offset=0x20 if bits == 32 else 0x28)
        if not 0 < names_index < count:
            raise ElfError("section name table index is out of range", offset=at + 4)
        table = read(offset, count * entsize)
        if len(table) != count * entsize:
            raise ElfError("section table is cut short", offset=offset + len(table))
        where = _section(layout.section, table, names_index)
        names = _read_names(read, file_size, where, offset + names_index * entsize)
        # Each entry begins with that. Unpacking all of 50 entries to look for one took six times as long.
        words = array("I", table)
        if layout.order != sys.byteorder:
            words.byteswap()
        starts = words[:: entsize // 4]
        return cls(read, file_size, bits, layout.order, kind, machine, table, names, layout.section, starts)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Elf:
        """Read an ELF file that is in memory."""

        def read(offset: int, size: int) -> bytes:
            return bytes(data[offset : offset + size])

        return cls.parse(read, len(data))

    def sections(self) -> Iterator[tuple[bytes, Section]]:
        """Yield each section with its name, in the table's order.

        Raises ElfError for a name that lies outside of the name table.
        """
        for fields in self.section_struct.iter_unpack(self.table):
            section = Section._make(fields)
            end = self.names.find(0, section.name)
            if end < 0:
                raise ElfError("a section's name lies outside of the name table", offset=section.name)
            yield self.names[section.name : end], section

    def find(self, name: bytes) -> Section | None:
        """Return the first section called ``name``, None where there is none."""
        names, starts = self.names, self.starts
        name += b"\0"
        first = len(starts)
        at = names.find(name)
        # Linkers let one name end inside of a longer one, .modinfo in .rela.modinfo, so every occurrence may be
        # the one referred to.
        while at >= 0:
            if at in starts:
                first = min(first, starts.index(at))
            at = names.find(name, at + 1)
        return None if first == len(starts) else self.section(first)

    def section(self, index: int) -> Section:
        """Return the section at a position in the table."""
        return _section(self.section_struct, self.table, index)

    def contents(self, section: Section, *, limit: int | None = None, skip: int = 0) -> bytes:
        """Return the bytes of ``section`` from ``skip`` on; nothing for one that takes no room in the file.

        Raises ElfError where they lie outside of the file or are more than ``limit`` bytes.
        """
        if section.type in (SHT_NOBITS, SHT_NULL):
            return b""
        return _read_range(self.read, self.file_size, section, limit, "section", skip)


def _section(struct: Struct, table: bytes, index: int) -> Section:
    # Not _make, in which a check of the length takes half of the time.
    return tuple.__new__(Section, struct.unpack_from(table, index * struct.size))


def _read_names(read: Read, file_size: int, where: Section, header_offset: int) -> bytes:
    if where.type in (SHT_NOBITS, SHT_NULL):
        raise ElfError("section name table takes no room in the file", offset=header_offset)
    names = _read_range(read, file_size, where, MAX_STRINGS, "section name table")
    if not names.endswith(b"\0"):
        raise ElfError("section name table does not end in a NUL", offset=where.offset + where.size)
    return names


def _read_range(read: Read, file_size: int, where: Section, limit: int | None, what: str, skip: int = 0) -> bytes:
    if where.offset + where.size > file_size:
        raise ElfError(f"{what} of {where.size} bytes lies outside of the file", offset=where.offset)
    if limit is not None and where.size > limit:
        raise ElfError(f"{what} of {where.size} bytes is over the limit of {limit}", offset=where.offset)
    data = read(where.offset + skip, where.size - skip)
    if len(data) != where.size - skip:
        raise ElfError(f"{what} is cut short", offset=where.offset + skip + len(data))
    return data
