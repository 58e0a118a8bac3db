"""Module information: the ``.modinfo`` section and ``modules.builtin.modinfo``.

``.modinfo`` holds NUL-terminated ``key=value`` strings, put there by MODULE_INFO and its kin
(include/linux/module.h); keys repeat and their order counts. ``modules.builtin.modinfo`` holds the same for
what is built in, as ``module.key=value`` (scripts/Makefile.vmlinux).
"""

from __future__ import annotations

from kmodkit.core.elf import MAX_MODINFO
from kmodkit.core.names import name_from_path, normalize_name
from kmodkit.errors import ModinfoError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from dataclasses import dataclass
    from typing import Final, NamedTuple

    from kmodkit.core.elf import Elf
else:
    from kmodkit.core.values import NamedTuple, dataclass

# The largest of real kernels is some 100 KiB (drivers with thousands of aliases).
# No device's modalias is longer than the 2 KiB of a uevent (UEVENT_BUFFER_SIZE, include/linux/kobject.h), and an
# index of longer patterns would take 200 times their size in memory.
MAX_ALIAS: Final = 4096


class SoftDeps(NamedTuple):
    """Modules, or aliases of them, that are better loaded before (``pre``) or after (``post``)."""

    pre: tuple[str, ...] = ()
    post: tuple[str, ...] = ()


class Parameter(NamedTuple):
    """A module parameter: what ``parm`` and ``parmtype`` say of it, None where one of them does not."""

    name: str
    description: str | None
    type: str | None


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """What one module says of itself.

    ``entries`` are its key and value pairs in the order of the file. ``path`` is where it was found, relative
    to the root of its tree where there is one; None means that it is built into the kernel.
    """

    entries: tuple[tuple[str, str], ...]
    path: str | None = None

    def get(self, key: str) -> str | None:
        """Return the first value of ``key``, None where it has none."""
        for found, value in self.entries:
            if found == key:
                return value
        return None

    def get_all(self, key: str) -> tuple[str, ...]:
        """Return every value of ``key`` in file order."""
        return tuple([value for found, value in self.entries if found == key])

    def keys(self) -> tuple[str, ...]:
        """Return the keys, each once, in the order of their first appearance."""
        return tuple(dict.fromkeys(key for key, _ in self.entries))

    @property
    def name(self) -> str:
        """The module's name as the kernel has it; from the file name where the module does not say."""
        return normalize_name(self.get("name") or "") or name_from_path(self.path or "")

    @property
    def builtin(self) -> bool:
        """Whether the module is part of the kernel image."""
        return self.path is None

    @property
    def authors(self) -> tuple[str, ...]:
        """The authors, as the module names them."""
        return self.get_all("author")

    @property
    def description(self) -> str | None:
        """What the module is for, in a line."""
        return self.get("description")

    @property
    def depends(self) -> tuple[str, ...]:
        """The modules this one needs, in file order, with ``_``."""
        return split_depends(self.get_all("depends"))

    @property
    def softdeps(self) -> SoftDeps:
        """The soft dependencies, as written: a name may be a module's or an alias."""
        return split_softdeps(self.get_all("softdep"))

    @property
    def weakdeps(self) -> tuple[str, ...]:
        """The weak dependencies: modules this one may ask for later, as written."""
        return split_weakdeps(self.get_all("weakdep"))

    @property
    def aliases(self) -> tuple[str, ...]:
        """The alias patterns, as written, in file order."""
        return self.get_all("alias")

    @property
    def firmware(self) -> tuple[str, ...]:
        """The firmware files the module may ask for, below the firmware directory; may be globs."""
        return self.get_all("firmware")

    @property
    def licenses(self) -> tuple[str, ...]:
        """The licences, as MODULE_LICENSE has them."""
        return self.get_all("license")

    @property
    def intree(self) -> bool:
        """Whether the module was built within a kernel source tree."""
        return self.get("intree") == "Y"

    @property
    def version(self) -> str | None:
        """The version the author gave."""
        return self.get("version")

    @property
    def srcversion(self) -> str | None:
        """The checksum of the sources."""
        return self.get("srcversion")

    @property
    def vermagic(self) -> str | None:
        """The kernel release and build options the module was made for."""
        return self.get("vermagic")

    @property
    def import_ns(self) -> tuple[str, ...]:
        """The symbol namespaces the module imports."""
        return self.get_all("import_ns")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, each once, in the order of their first appearance."""
        texts: dict[str, dict[str, str]] = {}
        for key, value in self.entries:
            if key in ("parm", "parmtype"):
                name, colon, text = value.partition(":")
                if colon:
                    texts.setdefault(name, {})[key] = text
        return tuple(Parameter(name, found.get("parm"), found.get("parmtype")) for name, found in texts.items())


def split_depends(values: Iterable[str]) -> tuple[str, ...]:
    """Return the names in the values of ``depends``, each once, with ``_``."""
    names = normalize_name(",".join(values)).split(",")
    return tuple([name for name in dict.fromkeys(names) if name])


def split_softdeps(values: Iterable[str]) -> SoftDeps:
    """Return the names in the values of ``softdep``, each once in its place."""
    found: dict[str, list[str]] = {"pre:": [], "post:": []}
    for value in values:
        where: list[str] | None = None
        for word in value.split():
            if word in found:
                where = found[word]
            elif where is not None:
                where.append(word)
    return SoftDeps(tuple(dict.fromkeys(found["pre:"])), tuple(dict.fromkeys(found["post:"])))


def split_weakdeps(values: Iterable[str]) -> tuple[str, ...]:
    """Return the names in the values of ``weakdep``, each once."""
    return tuple(dict.fromkeys([word for value in values for word in value.split()]))


def entries(section: bytes) -> list[tuple[str, str, str]]:
    """Return the entries in the contents of a ``.modinfo`` section: key, ``=`` or nothing, value."""
    # In one go, not entry by entry: 4,022 sections take 50 ms so.
    return [entry.partition("=") for entry in section.decode("utf-8", "surrogateescape").split("\0")]


def parse_modinfo(section: bytes, path: str | None = None) -> ModuleInfo:
    r"""Return the information in the contents of a ``.modinfo`` section.

    Entries without ``=`` are skipped, as the kernel's own reader does; values may hold anything but NUL.

    >>> parse_modinfo(b"name=ice\0\0depends=gnss,i40e\0", "ice.ko").depends
    ('gnss', 'i40e')
    """
    return ModuleInfo(tuple([(key, value) for key, equals, value in entries(section) if equals]), path)


def modinfo_from_elf(elf: Elf, path: str | None = None) -> ModuleInfo:
    """Return the information of a module; raises what `section_of` does."""
    return parse_modinfo(section_of(elf), path)


def section_of(elf: Elf) -> bytes:
    """Return the contents of a module's ``.modinfo`` section.

    Raises ModinfoError where there is no ``.modinfo`` section, ElfError where it cannot be read.
    """
    section = elf.find(b".modinfo")
    if section is None:
        raise ModinfoError("no .modinfo section")
    return elf.contents(section, limit=MAX_MODINFO)


def parse_builtin_modinfo(data: bytes, *, merge: bool = False) -> tuple[ModuleInfo, ...]:
    r"""Return the information in ``modules.builtin.modinfo``, one value a module, in file order.

    Entries without a name, ``.`` or ``=`` are skipped. Raises ModinfoError with the offset where a module comes
    back after another one. Real kernels have that, as different built-in parts may share a name (``core``); with
    ``merge`` the entries are put together instead.

    >>> infos = parse_builtin_modinfo(b"ext4.license=GPL\0ext4.softdep=pre: crc32c\0crc32c.alias=x\0")
    >>> [info.name for info in infos]
    ['ext4', 'crc32c']
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    last = ""
    for offset, entry in _entries(data):
        name, dot, rest = entry.partition(".")
        key, equals, value = rest.partition("=")
        if not name or not dot or not equals:
            continue
        if name != last:
            if name in groups and not merge:
                raise ModinfoError(f"module {name!r} comes back after {last!r}", offset=offset)
            groups.setdefault(name, [("name", name)])
            last = name
        groups[name].append((key, value))
    return tuple(ModuleInfo(tuple(entries)) for entries in groups.values())


def _entries(data: bytes) -> Iterator[tuple[int, str]]:
    offset = 0
    for raw in data.split(b"\0"):
        yield offset, raw.decode("utf-8", "surrogateescape")
        offset += len(raw) + 1
