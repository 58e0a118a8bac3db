r"""Take out of a module what ties it to one build of the kernel, as forcing a load asks for.

finit_module has flags for that; init_module has none, and is given a module without the pieces the kernel would
compare: the ``vermagic=`` entry of ``.modinfo``, and the section ``__versions``, which the kernel leaves aside
where it is not marked to be loaded (kernel/module/main.c).
"""

from __future__ import annotations

from typing import Final

from kmodkit.core.elf import MAX_MODINFO, SHT_NOBITS, Elf

_ALLOC: Final = 2  # SHF_ALLOC
_KEY: Final = b"vermagic="


def strip_checks(module: bytes, *, modversions: bool = False, vermagic: bool = False) -> bytes:
    """Return ``module``, an ELF file, without the versions of symbols, the vermagic, or both.

    The size stays, and a signature is no longer good. Raises ElfError.
    """
    elf = Elf.from_bytes(module)
    changed = bytearray(module)
    if vermagic and (info := elf.find(b".modinfo")) is not None:
        contents = elf.contents(info, limit=MAX_MODINFO)
        start = (b"\0" + contents).find(b"\0" + _KEY)
        if start >= 0:
            end = contents.find(b"\0", start)
            length = (len(contents) if end < 0 else end) - start
            changed[info.offset + start : info.offset + start + length] = bytes(length)
    if modversions:
        _hide(elf, changed, b"__versions")
    return bytes(changed)


def _hide(elf: Elf, module: bytearray, name: bytes) -> None:
    """Clear the flag of the first section called ``name`` that makes the kernel load it."""
    found = elf.find(name)
    if found is None or found.type == SHT_NOBITS or not found.flags & _ALLOC:
        return
    size = elf.section_struct.size
    shoff = slice(0x20, 0x24) if elf.bits == 32 else slice(0x28, 0x30)
    table = int.from_bytes(module[shoff], "little" if elf.byteorder == "little" else "big")
    for at in range(table, table + len(elf.table), size):
        if elf.section_struct.unpack_from(module, at) == found:
            # sh_flags follows two words of four bytes in either class, and is one or two of them long.
            low = at + 8 if elf.byteorder == "little" else at + (11 if elf.bits == 32 else 15)
            module[low] &= ~_ALLOC & 0xFF
            return
