"""ELF headers and sections: both classes, both byte orders, and what hostile headers come to."""

import itertools
import struct
from dataclasses import replace
from typing import Literal

import pytest

from kmodkit.core.elf import MAX_STRINGS, SHT_NOBITS, SHT_NULL, Elf, Section
from kmodkit.errors import ElfError
from kmodkit.testing import ModuleBuilder

KINDS: list[tuple[Literal[32, 64], Literal["little", "big"]]] = [
    (32, "little"),
    (32, "big"),
    (64, "little"),
    (64, "big"),
]
MODULE = ModuleBuilder("a", sections={".extra": b"contents"})


class Patch:
    """A module's bytes, with names for the header fields that tests overwrite."""

    def __init__(self, bits: Literal[32, 64] = 64, byteorder: Literal["little", "big"] = "little") -> None:
        self.data = bytearray(replace(MODULE, bits=bits, byteorder=byteorder).build())
        self.order = "<" if byteorder == "little" else ">"
        word = "Q" if bits == 64 else "I"
        self.fields = {
            "e_shoff": (0x28, "Q") if bits == 64 else (0x20, "I"),
            "e_shentsize": (0x3A if bits == 64 else 0x2E, "H"),
            "e_shnum": (0x3C if bits == 64 else 0x30, "H"),
            "e_shstrndx": (0x3E if bits == 64 else 0x32, "H"),
        }
        self.section_fields = {
            "sh_name": (0, "I"),
            "sh_type": (4, "I"),
            "sh_offset": (0x18, word) if bits == 64 else (0x10, word),
            "sh_size": (0x20, word) if bits == 64 else (0x14, word),
        }

    def get(self, field: str) -> int:
        """Return a header field."""
        at, code = self.fields[field]
        value: int = struct.unpack_from(self.order + code, self.data, at)[0]
        return value

    def set(self, field: str, value: int) -> None:
        """Overwrite a header field."""
        at, code = self.fields[field]
        struct.pack_into(self.order + code, self.data, at, value)

    def header(self, index: int) -> int:
        """Return the offset of a section's header."""
        return self.get("e_shoff") + index * self.get("e_shentsize")

    def set_section(self, index: int, field: str, value: int) -> None:
        """Overwrite a field of a section's header."""
        at, code = self.section_fields[field]
        struct.pack_into(self.order + code, self.data, self.header(index) + at, value)

    def parse(self) -> Elf:
        """Read the bytes as they are now."""
        return Elf.from_bytes(bytes(self.data))

    def find(self, name: bytes) -> Section:
        """Return a section that is there."""
        section = self.parse().find(name)
        assert section is not None
        return section


@pytest.mark.parametrize(("bits", "byteorder"), KINDS)
def test_sections_are_read_in_every_class_and_byte_order(
    bits: Literal[32, 64], byteorder: Literal["little", "big"]
) -> None:
    """A module of any architecture is read on any host, with its names, contents and machine."""
    data = replace(MODULE, bits=bits, byteorder=byteorder, machine=0x1234).build()
    elf = Elf.from_bytes(data)
    assert (elf.bits, elf.byteorder, elf.type, elf.machine) == (bits, byteorder, 1, 0x1234)
    assert [name for name, _ in elf.sections()] == [
        b"",
        b".modinfo",
        b".gnu.linkonce.this_module",
        b".extra",
        b".symtab",
        b".strtab",
        b".shstrtab",
    ]
    section = elf.find(b".extra")
    assert section is not None
    assert elf.contents(section) == b"contents"
    assert data[section.offset : section.offset + section.size] == b"contents"
    assert elf.find(b".nothing") is None


def test_a_memoryview_is_read_like_bytes() -> None:
    """A mapped file needs no copy to be looked into."""
    elf = Elf.from_bytes(memoryview(MODULE.build()))
    section = elf.find(b".extra")
    assert section is not None
    assert elf.contents(section) == b"contents"


def test_names_may_share_their_tails() -> None:
    """A linker keeps .modinfo inside of .rela.modinfo, and each name still finds its own section."""
    elf = Elf.from_bytes(replace(MODULE, sections={".rela.modinfo": b"relocations"}).build())
    assert elf.names.count(b".modinfo\0") == 1
    modinfo, rela = elf.find(b".modinfo"), elf.find(b".rela.modinfo")
    assert modinfo is not None
    assert rela is not None
    assert elf.contents(modinfo).startswith(b"depends=")
    assert elf.contents(rela) == b"relocations"
    assert elf.find(b"modinfo") is None


def test_the_first_of_two_sections_of_one_name_is_found() -> None:
    """As in the kernel's own loader, the first one counts."""
    patch = Patch()
    name = patch.find(b".modinfo").name
    patch.set_section(3, "sh_name", name)
    assert [found for found, _ in patch.parse().sections()].count(b".modinfo") == 2
    assert patch.parse().contents(patch.find(b".modinfo")).startswith(b"depends=")


@pytest.mark.parametrize("kind", [SHT_NOBITS, SHT_NULL])
def test_a_section_without_room_in_the_file_is_empty(kind: int) -> None:
    """.bss and its like may claim any place and size; nothing is read for them."""
    patch = Patch()
    patch.set_section(3, "sh_type", kind)
    patch.set_section(3, "sh_offset", 2**64 - 1)
    patch.set_section(3, "sh_size", 2**64 - 1)
    assert patch.parse().contents(patch.find(b".extra")) == b""


@pytest.mark.parametrize(("bits", "byteorder"), KINDS)
def test_every_truncation_is_an_error_within_the_file(
    bits: Literal[32, 64], byteorder: Literal["little", "big"]
) -> None:
    """Cut anywhere, a file is refused with an offset that is no later than its header can name."""
    data = replace(MODULE, bits=bits, byteorder=byteorder).build()
    for size in range(len(data)):
        with pytest.raises(ElfError) as caught:
            Elf.from_bytes(data[:size])
        assert caught.value.offset is not None
        assert 0 <= caught.value.offset <= len(data)


HOSTILE: list[tuple[str, int, str, str]] = [
    # field, value, what the error says, the field at whose offset it says it
    ("e_shoff", 0, "lies outside", "e_shoff"),
    ("e_shoff", 1, "lies outside", "e_shoff"),
    ("e_shoff", 0x7FFFFFFF, "lies outside", "e_shoff"),
    ("e_shoff", 0xFFFFFFFF, "lies outside", "e_shoff"),
    ("e_shnum", 0, "no section table", "e_shnum"),
    ("e_shnum", 0xFFFF, "lies outside", "e_shoff"),
    ("e_shentsize", 0, "section headers of 0 bytes", "e_shentsize"),
    ("e_shentsize", 0xFFFF, "section headers of 65535 bytes", "e_shentsize"),
    ("e_shstrndx", 0, "index is out of range", "e_shstrndx"),
    ("e_shstrndx", 7, "index is out of range", "e_shstrndx"),
    ("e_shstrndx", 0xFFFF, "index is out of range", "e_shstrndx"),
]


@pytest.mark.parametrize(
    ("kind", "field", "value", "reason", "blamed"),
    [(kind, *case) for kind, case in itertools.product(KINDS, HOSTILE)],
)
def test_a_hostile_header_is_an_error_at_the_field_to_blame(
    kind: tuple[Literal[32, 64], Literal["little", "big"]], field: str, value: int, reason: str, blamed: str
) -> None:
    """Each field that cannot be followed is named by the offset where it stands."""
    patch = Patch(*kind)
    patch.set(field, value)
    with pytest.raises(ElfError, match=reason) as caught:
        patch.parse()
    assert caught.value.offset == patch.fields[blamed][0]


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        (b"", "not an ELF file", 0),
        (b"#!/bin/sh\n", "not an ELF file", 0),
        (b"\x7fELF", "unknown ELF class", 4),
        (b"\x7fELF\x03\x01" + bytes(58), "unknown ELF class", 4),
        (b"\x7fELF\x02\x03" + bytes(58), "unknown ELF class", 4),
        (b"\x7fELF\x02\x01" + bytes(57), "cut short", 63),
        (b"\x7fELF\x01\x02" + bytes(45), "cut short", 51),
    ],
)
def test_what_is_no_elf_file_is_an_error(data: bytes, reason: str, offset: int) -> None:
    """Other files, unknown classes and half headers are told apart."""
    with pytest.raises(ElfError, match=reason) as caught:
        Elf.from_bytes(data)
    assert caught.value.offset == offset


def test_a_million_claimed_sections_are_refused() -> None:
    """The extended numbering, where the count stands in the first section header, is not followed."""
    patch = Patch()
    patch.set("e_shnum", 0)
    patch.set_section(0, "sh_size", 1_000_000)
    with pytest.raises(ElfError, match="no section table"):
        patch.parse()


def test_a_section_table_over_the_header_is_refused() -> None:
    """A table that begins inside of the ELF header, and so refers to itself, is no table."""
    patch = Patch()
    patch.set("e_shoff", 63)
    with pytest.raises(ElfError, match="section table lies outside"):
        patch.parse()


def test_overlapping_sections_are_read_for_what_they_are() -> None:
    """Sections may overlap each other and the section table itself: they are bytes, and nothing is followed."""
    patch = Patch()
    table = patch.get("e_shoff")
    patch.set_section(3, "sh_offset", table)
    patch.set_section(3, "sh_size", len(patch.data) - table)
    assert patch.parse().contents(patch.find(b".extra")) == patch.data[table:]


@pytest.mark.parametrize(("bits", "byteorder"), KINDS)
@pytest.mark.parametrize(("offset", "size"), [(0, 0xFFFFFFFF), (0xFFFFFFFF, 1), (0xFFFFFFF0, 0x20)])
def test_a_section_outside_of_the_file_is_an_error_when_read(
    bits: Literal[32, 64], byteorder: Literal["little", "big"], offset: int, size: int
) -> None:
    """Offset and size are added without wrapping around, and the section's offset is blamed."""
    patch = Patch(bits, byteorder)
    patch.set_section(3, "sh_offset", offset)
    patch.set_section(3, "sh_size", size)
    with pytest.raises(ElfError, match="lies outside of the file") as caught:
        patch.parse().contents(patch.find(b".extra"))
    assert caught.value.offset == offset


def test_a_section_that_fits_the_file_but_not_the_limit_is_an_error() -> None:
    """Whoever reads a section says how much of it is sane."""
    patch = Patch()
    section = patch.find(b".extra")
    assert patch.parse().contents(section, limit=8) == b"contents"
    with pytest.raises(ElfError, match="over the limit of 7") as caught:
        patch.parse().contents(section, limit=7)
    assert caught.value.offset == section.offset


def test_the_name_table_must_be_a_table_of_names() -> None:
    """One that is outside of the file, without room, unterminated or huge is refused."""
    cases = [
        ("sh_type", SHT_NOBITS, "takes no room"),
        ("sh_type", SHT_NULL, "takes no room"),
        ("sh_offset", 2**63, "lies outside"),
        ("sh_size", 2**63, "lies outside"),
        ("sh_size", 0, "does not end in a NUL"),
        ("sh_size", 3, "does not end in a NUL"),
    ]
    for field, value, reason in cases:
        patch = Patch()
        patch.set_section(6, field, value)
        with pytest.raises(ElfError, match=reason):
            patch.parse()
    patch = Patch()
    patch.set_section(6, "sh_offset", len(patch.data))
    patch.set_section(6, "sh_size", MAX_STRINGS + 1)
    patch.data += bytes(MAX_STRINGS + 1)
    with pytest.raises(ElfError, match="over the limit"):
        patch.parse()


def test_a_name_outside_of_the_table_is_an_error_when_listed() -> None:
    """find() passes over such a section, sections() says so."""
    patch = Patch()
    patch.set_section(3, "sh_name", 0xFFFFFFFF)
    assert patch.parse().find(b".extra") is None
    assert patch.parse().find(b".symtab") is not None
    with pytest.raises(ElfError, match="name lies outside"):
        list(patch.parse().sections())


def test_a_file_that_shrinks_while_it_is_read_is_an_error() -> None:
    """A read that gives less than the file's size promised ends in an error at the place it stopped."""
    data = MODULE.build()
    table = Patch().get("e_shoff")

    def shrunk(offset: int, size: int) -> bytes:
        return data[offset : min(offset + size, table + 10)]

    with pytest.raises(ElfError, match="cut short") as caught:
        Elf.parse(shrunk, len(data))
    assert caught.value.offset == table + 10


def test_a_plain_file_is_read_in_a_few_small_pieces() -> None:
    """Finding one section takes the header, the table, the names and the section; not the file."""
    data = replace(MODULE, sections={".huge": bytes(1 << 20), ".extra": b"contents"}).build()
    reads: list[int] = []

    def read(offset: int, size: int) -> bytes:
        reads.append(size)
        return data[offset : offset + size]

    elf = Elf.parse(read, len(data))
    section = elf.find(b".modinfo")
    assert section is not None
    elf.contents(section)
    assert len(reads) == 4
    assert sum(reads) < 2000
