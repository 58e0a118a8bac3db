"""The symbols of a module: what it offers to others, and what it needs of them.

An exported symbol ``X`` has a symbol ``__crc_X`` beside it where the kernel keeps versions of symbols
(CONFIG_MODVERSIONS), and is named in the section ``__ksymtab_strings`` either way. What a module needs are its
undefined symbols; ``__versions`` holds the checksums that those had when it was built (``struct modversion_info``,
include/linux/module.h: an unsigned long and the name, 64 bytes together).
"""

from __future__ import annotations

from array import array
from struct import Struct

from kmodkit.errors import ElfError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NamedTuple

    from kmodkit.core.elf import Elf
else:
    from kmodkit.core.values import NamedTuple

SHT_SYMTAB: Final = 2
SHN_UNDEF: Final = 0
SHN_ABS: Final = 0xFFF1
_STB_WEAK: Final = 2
_STT_SPARC_REGISTER: Final = 13
_SPARC: Final = (2, 18, 43)  # EM_SPARC, EM_SPARC32PLUS, EM_SPARCV9
_CRC: Final = b"\0__crc_"
_VERSION_SIZE: Final = 64
# Debug symbols aside, the largest module has some 100,000 symbols.
MAX_TABLE: Final = 64 << 20
_NATIVE: Final = "little" if array("H", b"\1\0")[0] == 1 else "big"


class Export(NamedTuple):
    """A symbol that a module offers, with its checksum, 0 where it has none."""

    name: bytes
    crc: int


class Need(NamedTuple):
    """A symbol that a module needs, with the checksum it was built against, 0 where that is not known.

    A ``weak`` one may be missing.
    """

    name: bytes
    crc: int
    weak: bool


class Symbols(NamedTuple):
    """The symbols of a module, in the order of its file."""

    exports: tuple[Export, ...]
    needs: tuple[Need, ...]


class SymbolNames(NamedTuple):
    """The names alone: all that dependencies take, and read in half the time."""

    exports: list[bytes]
    needs: list[bytes]


class _Table(NamedTuple):
    """A symbol table: names as offsets into ``strings``; ``info`` and ``section`` of each symbol by position."""

    strings: bytes
    names: Sequence[int]
    packed: Sequence[int]  # st_info, st_other and st_shndx in one word
    values: Sequence[int]
    little: bool
    local: int  # how many symbols at the start are local, and so never undefined

    def undefined(self) -> list[int]:
        """Return the positions of the undefined symbols."""
        start = self.local  # the symbol 0, which is none, is local
        packed = self.packed[start:] if start else self.packed
        if self.little:
            return [at for at, word in enumerate(packed, start) if word < 0x10000]
        return [at for at, word in enumerate(packed, start) if not word & 0xFFFF]

    def undefined_starts(self) -> list[int]:
        """Return where the names of the undefined symbols begin: of all 60 in one go, a tenth less time."""
        start = self.local
        names, packed = (self.names[start:], self.packed[start:]) if start else (self.names, self.packed)
        if self.little:
            return [name for name, word in zip(names, packed, strict=True) if word < 0x10000]
        return [name for name, word in zip(names, packed, strict=True) if not word & 0xFFFF]

    def texts(self, starts: Sequence[int]) -> list[bytes]:
        """Return the names that begin at ``starts``."""
        strings = self.strings
        # One test for all: each name then has an end, as the table ends in a NUL.
        if starts and max(starts) >= len(strings):
            raise ElfError("a symbol's name lies outside of the string table", offset=max(starts))
        find = strings.find
        return [strings[start : find(0, start)] for start in starts]

    def crc_starts(self) -> set[int]:
        """Return where in the strings a name that begins with ``__crc_`` does."""
        strings = self.strings
        starts: set[int] = set()
        at = strings.find(_CRC)
        # Most modules export nothing, which this search in C finds out without a look at their symbols.
        while at >= 0:
            starts.add(at + 1)
            at = strings.find(_CRC, at + 1)
        return starts

    def info(self, at: int) -> int:
        return self.packed[at] & 0xFF if self.little else self.packed[at] >> 24

    def section(self, at: int) -> int:
        return self.packed[at] >> 16 if self.little else self.packed[at] & 0xFFFF

    def name(self, at: int) -> bytes:
        start = self.names[at]
        end = self.strings.find(0, start)
        if end < 0:
            raise ElfError("a symbol's name lies outside of the string table", offset=start)
        return self.strings[start:end]


def read_symbol_names(elf: Elf) -> SymbolNames:
    """Return the names of what a module offers, in no order, and of what it needs; raises ElfError."""
    table = _read_table(elf, crcs=False)
    if table is None:
        return SymbolNames(_listed_exports(elf), [name for name, _ in _versions(elf)])
    exports = [name[6:] for name in table.texts(sorted(table.crc_starts().intersection(table.names)))]
    if not exports:
        exports = _listed_exports(elf)
    if _is_sparc(elf):
        starts = [table.names[at] for at in _without_registers(table, table.undefined())]
    else:
        starts = table.undefined_starts()
    needs = table.texts(starts)
    section = elf.find(b"__versions")
    # All that has a version is undefined, but for module_layout, which no module exports.
    if section is not None and section.size // _VERSION_SIZE > len(needs) + 1:
        seen = set(needs)
        needs += [name for name, _ in _versions(elf) if name not in seen]
    return SymbolNames(exports, needs)


def read_symbols(elf: Elf) -> Symbols:
    """Return what a module offers and needs, with checksums; raises ElfError."""
    table = _read_table(elf, crcs=True)
    versions = dict(_versions(elf))
    if table is None:
        exports = tuple(Export(name, 0) for name in _listed_exports(elf))
        return Symbols(exports, tuple(Need(name, crc, weak=False) for name, crc in versions.items()))
    crcs = _crc_symbols(table)
    exports = tuple(Export(table.name(at)[6:], _crc_value(elf, table, at)) for at in crcs)
    needs = []
    for at in _without_registers(table, table.undefined()) if _is_sparc(elf) else table.undefined():
        name = table.name(at)
        needs.append(Need(name, versions.pop(name, 0), table.info(at) >> 4 == _STB_WEAK))
    needs += [Need(name, crc, weak=False) for name, crc in versions.items()]
    return Symbols(exports or tuple(Export(name, 0) for name in _listed_exports(elf)), tuple(needs))


def _read_table(elf: Elf, *, crcs: bool) -> _Table | None:
    """Return the symbol table, None where there is none.

    Local symbols are left out where they can hold nothing: where no name begins with ``__crc_``, unless ``crcs``.
    """
    section = elf.find(b".symtab")
    if section is None or section.type != SHT_SYMTAB:
        return None
    if section.link >= len(elf.table) // elf.section_struct.size:
        raise ElfError("the symbol table's names are in no section", offset=section.offset)
    where = elf.section(section.link)
    strings = elf.contents(where, limit=MAX_TABLE)
    if not strings.endswith(b"\0"):
        raise ElfError("the names of symbols do not end in a NUL", offset=where.offset)
    size = 24 if elf.bits == 64 else 16
    local = min(section.info, section.size // size)
    skip = 0
    if not crcs and _CRC not in strings:
        skip, local = local * size, 0
    data = elf.contents(section, limit=MAX_TABLE, skip=skip)
    words = array("I", data[: len(data) // size * size] if len(data) % size else data)
    if elf.byteorder != _NATIVE:
        words.byteswap()
    little = elf.byteorder == "little"
    names = words[0 :: size // 4]
    wide = elf.bits == 64
    packed = words[1::6] if wide else words[3::4]
    # Only the checksums of symbols are taken from their values.
    values = (words[2 if little else 3 :: 6] if wide else words[1::4]) if crcs else ()
    return _Table(strings, names, packed, values, little, local)


def _crc_symbols(table: _Table) -> list[int]:
    """Return the positions of the symbols called ``__crc_`` and more."""
    starts = table.crc_starts()
    return [at for at, start in enumerate(table.names) if start in starts] if starts else []


def _crc_value(elf: Elf, table: _Table, at: int) -> int:
    """Return the checksum that a ``__crc_`` symbol is, or that it is the place of."""
    index = table.section(at)
    value = table.values[at]
    if index == SHN_ABS or not 0 < index < len(elf.table) // elf.section_struct.size:
        return value
    data = elf.contents(elf.section(index), limit=MAX_TABLE)
    if value + 4 > len(data):
        raise ElfError("a checksum lies outside of its section", offset=value)
    return int.from_bytes(data[value : value + 4], "little" if elf.byteorder == "little" else "big")


def _listed_exports(elf: Elf) -> list[bytes]:
    section = elf.find(b"__ksymtab_strings")
    if section is None:
        return []
    return [name for name in elf.contents(section, limit=MAX_TABLE).split(b"\0") if name]


def _versions(elf: Elf) -> list[tuple[bytes, int]]:
    section = elf.find(b"__versions")
    if section is None:
        return []
    data = elf.contents(section, limit=MAX_TABLE)
    order = "<" if elf.byteorder == "little" else ">"
    entry = Struct(order + ("Q56s" if elf.bits == 64 else "I60s"))
    whole = len(data) // _VERSION_SIZE * _VERSION_SIZE
    return [(name.partition(b"\0")[0], crc) for crc, name in entry.iter_unpack(data[:whole])]


def _is_sparc(elf: Elf) -> bool:
    return elf.machine in _SPARC


def _without_registers(table: _Table, positions: list[int]) -> list[int]:
    """Return ``positions`` without what sparc notes of its registers, which looks like undefined symbols."""
    return [at for at in positions if table.info(at) & 0xF != _STT_SPARC_REGISTER]
