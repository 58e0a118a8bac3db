"""`ModuleBuilder`: small kernel modules, real enough for every tool that reads module files.

What is written is a relocatable ELF file as elf(5) has it, with the sections that kmod's tools look at; it
has no code, so no kernel would load it.
"""

from __future__ import annotations

import gzip
import lzma
import sys
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from kmodkit.core.names import to_bytes
from kmodkit.core.signature import MAGIC

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

Compression: TypeAlias = Literal["gz", "xz", "zst"]
Text: TypeAlias = str | bytes

EM_X86_64: Final = 62
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB = 1, 2, 3
_SHF_ALLOC: Final = 2
_SHN_ABS: Final = 0xFFF1
_GLOBAL_NOTYPE, _GLOBAL_OBJECT = 0x10, 0x11

# By class: the header behind e_ident, a section header, and a symbol. The fields of a symbol come in a different
# order in each, given as positions in (st_name, st_value, st_info, st_shndx, 0).
_HEADERS: Final = {32: "HHIIIIIHHHHHH", 64: "HHIQQQIHHHHHH"}
_SECTIONS: Final = {32: "10I", 64: "IIQQQQIIQQ"}
_SYMBOLS: Final = {32: ("IIIBBH", (0, 1, 4, 2, 4, 3)), 64: ("IBBHQQ", (0, 2, 4, 3, 1, 4))}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendedSignature:
    """What is appended to a signed module: ``blob``, and the fields of the trailer behind it.

    The numbers are those of ``struct module_signature`` (include/linux/module_signature.h); by default they
    are what recent kernels write. ``size`` is the length the trailer claims, by default the true one.
    """

    blob: bytes
    kind: int = 2
    algorithm: int = 0
    digest: int = 0
    signer: bytes = b""
    key_id: bytes = b""
    size: int | None = None

    def __bytes__(self) -> bytes:
        size = len(self.blob) if self.size is None else self.size
        numbers = (self.algorithm, self.digest, self.kind, len(self.signer), len(self.key_id), size)
        return self.signer + self.key_id + self.blob + Struct(">5B3xI").pack(*numbers) + MAGIC


@dataclass(slots=True)
class ModuleBuilder:
    """A kernel module to be written.

    ``modinfo`` holds entries of ``.modinfo`` that have no keyword here; they come first. With ``name`` None and
    nothing else to say, there is no such section. ``undefined`` symbols are what the module needs of others,
    ``exports`` maps the symbols it offers to their checksums, and ``versions`` maps needed ones to theirs.
    ``sections`` adds sections, or replaces one that would have been written. ``signature`` is a PKCS#7 message
    as bytes, or an `AppendedSignature`.

    >>> module = ModuleBuilder("snd-hda-intel", bits=32, byteorder="big", license="GPL", compression="xz")
    >>> module.filename
    'snd-hda-intel.ko.xz'
    >>> module.entries
    ((b'license', b'GPL'), (b'depends', b''), (b'name', b'snd_hda_intel'))
    """

    name: str | None = "example"
    _: KW_ONLY
    bits: Literal[32, 64] = 64
    byteorder: Literal["little", "big"] = "little"
    machine: int = EM_X86_64
    modinfo: Sequence[tuple[Text, Text]] = ()
    license: str | None = None
    firmware: Sequence[Text] = ()
    softdeps: Sequence[Text] = ()
    weakdeps: Sequence[Text] = ()
    aliases: Sequence[Text] = ()
    depends: Sequence[str] = ()
    vermagic: str | None = None
    undefined: Sequence[str] = ()
    exports: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    sections: Mapping[str, bytes] = field(default_factory=dict)
    signature: bytes | AppendedSignature | None = None
    compression: Compression | None = None

    @property
    def filename(self) -> str:
        """The usual name of the file, with the suffix of its compression."""
        return f"{self.name or 'example'}.ko" + (f".{self.compression}" if self.compression else "")

    @property
    def entries(self) -> tuple[tuple[bytes, bytes], ...]:
        """The keys and values of ``.modinfo``, in the order that modpost writes them."""
        pairs: list[tuple[Text, Text]] = [*self.modinfo]
        if self.license is not None:
            pairs.append(("license", self.license))
        for key, values in (
            ("firmware", self.firmware),
            ("softdep", self.softdeps),
            ("weakdep", self.weakdeps),
            ("alias", self.aliases),
        ):
            pairs += ((key, value) for value in values)
        if self.depends or self.name is not None:
            pairs.append(("depends", ",".join(self.depends)))
        if self.name is not None:
            pairs.append(("name", self.name.replace("-", "_")))
        if self.vermagic is not None:
            pairs.append(("vermagic", self.vermagic))
        return tuple((to_bytes(key), to_bytes(value)) for key, value in pairs)

    def build(self) -> bytes:
        """Return the bytes of the module file: signed, then compressed, as the kernel's build does."""
        data = self._elf()
        if self.signature is not None:
            given = self.signature
            data += bytes(AppendedSignature(blob=given) if isinstance(given, bytes) else given)
        return compress(data, self.compression) if self.compression else data

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the module to ``path``, or under its usual name where that is a directory; return its path."""
        target = Path(path)
        if target.is_dir():
            target /= self.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.build())
        return target

    def _elf(self) -> bytes:
        order = "<" if self.byteorder == "little" else ">"
        header = Struct(order + _HEADERS[self.bits])
        entry = Struct(order + _SECTIONS[self.bits])
        contents = {**dict(self._contents(order)), **{k.encode(): v for k, v in self.sections.items()}}
        strings, symbols = self._symbols(order, list(contents))
        contents.update({b".symtab": symbols, b".strtab": strings})
        names, places = _strings([*contents, b".shstrtab"])
        contents[b".shstrtab"] = names
        body = bytearray(16 + header.size)
        table = [bytes(entry.size)]
        for index, (name, data) in enumerate(contents.items(), 1):
            body += bytes(-len(body) % 8)
            kind = {b".symtab": _SHT_SYMTAB, b".strtab": _SHT_STRTAB, b".shstrtab": _SHT_STRTAB}.get(name)
            symtab = kind == _SHT_SYMTAB
            table.append(
                entry.pack(
                    places[name],
                    kind or _SHT_PROGBITS,
                    0 if kind else _SHF_ALLOC,
                    0,
                    len(body),
                    len(data),
                    index + 1 if symtab else 0,  # .strtab stands behind .symtab
                    1 if symtab else 0,  # the first symbol that is not local
                    8,
                    _symbol(order, self.bits).size if symtab else 0,
                )
            )
            body += data
        body += bytes(-len(body) % 8)
        body[:16] = b"\x7fELF" + bytes([self.bits // 32, 1 + (order == ">"), 1]) + bytes(9)
        count = len(table)
        numbers = (1, self.machine, 1, 0, 0, len(body), 0, 16 + header.size, 0, 0, entry.size, count, count - 1)
        body[16 : 16 + header.size] = header.pack(*numbers)
        return bytes(body) + b"".join(table)

    def _contents(self, order: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the sections with their contents, those of the symbols and names aside."""
        word = Struct(order + ("I" if self.bits == 32 else "Q"))
        if self.entries:
            yield b".modinfo", b"".join(key + b"=" + value + b"\0" for key, value in self.entries)
        if self.exports:
            yield b"__ksymtab", bytes(2 * word.size * len(self.exports))
            yield b"__ksymtab_strings", b"".join(name.encode() + b"\0" for name in self.exports)
        if self.versions:
            # struct modversion_info: an unsigned long and the name, 64 bytes in all
            size = 64 - word.size
            yield (
                b"__versions",
                b"".join(word.pack(crc) + name.encode().ljust(size, b"\0") for name, crc in self.versions.items()),
            )
        yield b".gnu.linkonce.this_module", bytes(64)

    def _symbols(self, order: str, sections: Sequence[bytes]) -> tuple[bytes, bytes]:
        """Return the contents of ``.strtab`` and ``.symtab``."""
        found = [(name, 0, _GLOBAL_NOTYPE, 0) for name in self.undefined]
        if self.exports:
            section = sections.index(b"__ksymtab") + 1
            found += [(f"__ksymtab_{name}", 0, _GLOBAL_OBJECT, section) for name in self.exports]
            found += [(f"__crc_{name}", crc, _GLOBAL_NOTYPE, _SHN_ABS) for name, crc in self.exports.items()]
        strings, places = _strings([name.encode() for name, *_ in found])
        layout, picks = _symbol(order, self.bits), _SYMBOLS[self.bits][1]
        rows = [(places[name.encode()], value, info, section, 0) for name, value, info, section in found]
        packed = [layout.pack(*(row[pick] for pick in picks)) for row in rows]
        return strings, bytes(layout.size) + b"".join(packed)


def compress(data: bytes, kind: Compression) -> bytes:
    """Return ``data`` packed as the kernel's ``modules_install`` packs modules."""
    if kind == "gz":
        return gzip.compress(data, mtime=0)
    if kind == "xz":
        return lzma.compress(data, check=lzma.CHECK_CRC32)
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.compress(data)


def _symbol(order: str, bits: int) -> Struct:
    return Struct(order + _SYMBOLS[bits][0])


def _strings(names: Sequence[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """Return a string table and where each name stands; as linkers do, names share their tails."""
    table = b"\0"
    places: dict[bytes, int] = {}
    for name in sorted(set(names), key=lambda name: (-len(name), name)):
        if table.find(name + b"\0") < 0:
            table += name + b"\0"
        places[name] = table.find(name + b"\0")
    return table, places
