"""`WireCatalog`: a catalog over the bytes of a meta.pb, which are read as far as each question needs.

Lookups are those of `kmodkit.meta.search.MetaFile`; modules are read when one is asked for, and kept.
"""

from __future__ import annotations

from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.modinfo import SoftDeps
from kmodkit.core.names import to_text
from kmodkit.meta.search import PATH, MetaFile

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from kmodkit.core.catalog import Index

# Field numbers of meta.proto, beside those of `search`.
_DEPENDS: Final = 3
_DEPENDS_NAMES: Final = 1000
_SOFTDEP_PRE: Final = 1001
_SOFTDEP_POST: Final = 1002
_WEAKDEP: Final = 1003
_FIRMWARE: Final = 1004
_PLAIN: Final = bytes(sorted({*range(256)} - {*b"*?[\\"}))
_TEXT_FIELDS: Final = frozenset((_DEPENDS_NAMES, _SOFTDEP_PRE, _SOFTDEP_POST, _WEAKDEP, _FIRMWARE))


class _WireModule(Module):
    """A module whose aliases, which are spread over the tree, are put together when they are asked for."""

    __slots__ = ("_catalog",)
    _catalog: WireCatalog

    @property
    def aliases(self) -> tuple[str, ...]:
        return self._complete().aliases

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _WireModule):
            other = other._complete()
        return self._complete() == other if isinstance(other, Module) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._complete())

    def _complete(self) -> Module:
        return self._catalog.complete()[self.name]


class WireCatalog(Catalog):
    """A `Catalog` over the bytes of a meta.pb, which are read as far as each question needs.

    Everything a catalog does gives the same answers as with `kmodkit.meta.codec.decode`; what goes over all
    modules or their aliases decodes the whole file first. MetadataError comes from any method, for what it met.
    """

    __slots__ = ("_all", "_file", "_read_modules")
    _file: MetaFile
    _read_modules: dict[int, Module]
    _all: Catalog | None

    def __init__(self, data: bytes, *, source: str | None = None) -> None:
        set_slot = object.__setattr__  # the base is frozen
        set_slot(self, "_file", MetaFile(data, source=source))
        set_slot(self, "_indexes", {})
        set_slot(self, "_ways", None)
        set_slot(self, "_read_modules", {})
        set_slot(self, "_all", None)

    def __eq__(self, other: object) -> bool:
        return self.modules == other.modules if isinstance(other, Catalog) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.complete())

    def __reduce__(self) -> tuple[object, ...]:
        return (WireCatalog, (self._file.wire.data,), None)

    @property
    def modules(self) -> tuple[Module, ...]:
        """All modules; decodes the whole file."""
        return self.complete().modules

    def complete(self) -> Catalog:
        """Return the catalog with everything decoded; raises MetadataError."""
        found = self._all
        if found is None:
            from kmodkit.meta.codec import decode  # protobuf, which most questions do without

            wire = self._file.wire
            found = decode(wire.data, source=wire.source)
            object.__setattr__(self, "_all", found)
        return found

    @property
    def _positions(self) -> dict[str, int]:
        return self._file.positions

    def _at(self, position: int) -> Module:
        module = self._read_modules.get(position)
        if module is None:
            module = self._read_modules[position] = self._read(position)
        return module

    def _read(self, position: int) -> Module:
        wire = self._file.wire
        path = ""
        depends: list[int] = []
        texts: dict[int, list[str]] = {}
        for field in wire.fields(self._file.spans[position]):
            if field[0] == PATH:
                path = wire.text(field)
            elif field[0] == _DEPENDS:
                depends += wire.numbers(field)
            elif field[0] in _TEXT_FIELDS:
                texts.setdefault(field[0], []).append(to_text(wire.raw(field)))
        module = object.__new__(_WireModule)
        values = {
            "name": self._file.name(position),
            "path": path or None,
            "depends": _unique(texts.get(_DEPENDS_NAMES) or [self._file.name(index) for index in depends]),
            "softdeps": SoftDeps(_unique(texts.get(_SOFTDEP_PRE, ())), _unique(texts.get(_SOFTDEP_POST, ()))),
            "weakdeps": _unique(texts.get(_WEAKDEP, ())),
            "firmware": _unique(texts.get(_FIRMWARE, ())),
            "_catalog": self,
        }
        for name, value in values.items():
            object.__setattr__(module, name, value)
        return module

    def _index(self, *, builtin: bool) -> Index:
        index = self._indexes.get(builtin)
        if index is None:
            index = self._indexes[builtin] = self._builtin_index() if builtin else self._file
        return index

    def _builtin_index(self) -> Index:
        file = self._file
        aliases = ((at, file.verbatim(at)) for at in file.positions.values())
        return _BuiltinIndex(
            (alias, at) for at, found in aliases if found and file.path(at) is None for alias in found
        )


class _BuiltinIndex:
    """The aliases of what is built in: some dozens, of which few have wildcards.

    Plans ask for names of soft dependencies here, which are no patterns, and importing a `Matcher` takes as long
    as Python takes to start.
    """

    def __init__(self, pairs: Iterable[tuple[bytes, int]]) -> None:
        self._exact: dict[bytes, tuple[int, ...]] = {}
        self._others: list[tuple[bytes, bytes, int]] = []  # each with what all that it matches begins with
        self._matcher: Index | None = None
        for alias, at in pairs:
            text = alias.replace(b"-", b"_")
            head = _head(text)
            if len(head) == len(text):
                self._exact[text] = (*self._exact.get(text, ()), at)
            else:
                self._others.append((head, alias, at))

    def lookup(self, text: bytes) -> tuple[int, ...]:
        """Return the positions of the modules with a pattern that matches ``text``, ascending, each once."""
        found = self._exact.get(text, ())
        if any(text.startswith(head) for head, _, _ in self._others):
            if self._matcher is None:
                from kmodkit.core.matcher import Matcher, normalized_text

                self._matcher = Matcher((normalized_text(alias), at) for _, alias, at in self._others)
            found += self._matcher.lookup(text)
        return tuple(sorted({*found}))


def _head(text: bytes) -> bytes:
    """Return what a pattern begins with up to its first wildcard, set or escape."""
    return text[: len(text) - len(text.lstrip(_PLAIN))]


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
