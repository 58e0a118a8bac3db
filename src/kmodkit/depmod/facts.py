"""What indexes need of one module file."""

from __future__ import annotations

import os

from kmodkit.core.elf import MAX_MODINFO, Elf
from kmodkit.core.modcache import ModuleFacts
from kmodkit.core.symbols import read_symbol_names
from kmodkit.errors import FormatError
from kmodkit.kernel.opening import opened, read_file

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


def read_facts(path: str, max_size: int) -> ModuleFacts:
    """Return what a module file says, plain or compressed.

    ``max_size`` bounds what it unpacks to, in bytes. Raises FileError, CompressionError and ElfError.
    """
    return with_elf(path, max_size, _facts)


def with_elf(path: str, max_size: int, use: Callable[[Elf], T]) -> T:
    """Return what ``use`` gives for the module file ``path``; see `read_facts`."""
    try:
        if path.endswith(".ko"):
            with (file := opened(path)) as fd:
                return use(Elf.parse(lambda offset, size: os.pread(fd, size, offset), file.size))
        from kmodkit.kernel.files import decompress

        return use(Elf.from_bytes(decompress(read_file(path, max_size=max_size), max_size=max_size)))
    except FormatError as error:
        error.source = error.source or path
        raise


def modinfo_of(elf: Elf) -> bytes:
    """Return the contents of ``.modinfo``, b"" where there is none; raises ElfError."""
    section = elf.find(b".modinfo")
    return b"" if section is None else elf.contents(section, limit=MAX_MODINFO)


def _facts(elf: Elf) -> ModuleFacts:
    exports, needs = read_symbol_names(elf)
    return ModuleFacts(modinfo_of(elf), b"\0".join(exports), b"\0".join(needs))
