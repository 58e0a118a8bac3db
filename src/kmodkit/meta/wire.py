"""meta.pb without reading all of it: only the bytes that a question needs, straight from the wire format.

Decoding every node of a kernel's tree takes a second; the modules of one device are some hundred nodes away
from the root. So nodes are read when a lookup reaches them, and modules when one is asked for, and what was read
once is kept. The format is that of https://protobuf.dev/programming-guides/encoding/, the fields are those of
``meta.proto``. Nothing is trusted: what is wrong is a MetadataError with its offset, at the time it is met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from kmodkit.core.alias import ANY, STAR, ByteSet, Pattern
from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.matcher import Matcher, normalized_text
from kmodkit.core.modinfo import SoftDeps
from kmodkit.core.names import normalize_name, to_text
from kmodkit.core.radix import RadixNode, RadixTree
from kmodkit.errors import MetadataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kmodkit.core.alias import Token
    from kmodkit.core.catalog import Index

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5

# Field numbers of meta.proto.
_META_MODULES: Final = 1
_META_TREE: Final = 2
_META_OUTSIDE: Final = 1000
_NAME: Final = 1
_PATH: Final = 2
_DEPENDS: Final = 3
_DEPENDS_NAMES: Final = 1000
_SOFTDEP_PRE: Final = 1001
_SOFTDEP_POST: Final = 1002
_WEAKDEP: Final = 1003
_FIRMWARE: Final = 1004
_ALIAS_VERBATIM: Final = 1005
_TEXT_FIELDS: Final = frozenset((_DEPENDS_NAMES, _SOFTDEP_PRE, _SOFTDEP_POST, _WEAKDEP, _FIRMWARE))
_TYPE: Final = 1
_LITERAL: Final = 2
_START: Final = 3
_END: Final = 4
_CHILDREN: Final = 5
_INDEX: Final = 6


# Plain tuples: named ones and a generator made opening a kernel's file and its first lookup take twice as long.
_Span: TypeAlias = tuple[int, int]  # where a message lies in the data
_Field: TypeAlias = tuple[int, int, int, int]  # number, the value of a number (else -1), where its bytes are


class _Wire:
    """Reads protobuf's fields out of bytes, bounds-checked."""

    def __init__(self, data: bytes, source: str | None) -> None:
        self.data = data
        self.source = source

    def error(self, reason: str, offset: int) -> MetadataError:
        return MetadataError(reason, offset=offset, source=self.source)

    def varint(self, pos: int, end: int) -> tuple[int, int]:
        """Return the number at ``pos`` and the offset behind it."""
        value = shift = 0
        start = pos
        while pos < end and shift < 70:
            byte = self.data[pos]
            pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, pos
            shift += 7
        raise self.error("a number is cut short", start)

    def fields(self, span: _Span) -> list[_Field]:
        """Return the fields of the message at ``span``."""
        data = self.data
        pos, end = span
        found: list[_Field] = []
        while pos < end:
            start = pos
            key = data[pos]
            pos += 1
            if key >= 0x80:
                key, pos = self.varint(start, end)
            kind = key & 7
            if kind == _BYTES:
                if pos < end and data[pos] < 0x80:
                    size = data[pos]
                    pos += 1
                elif pos + 1 < end and data[pos + 1] < 0x80:
                    size = data[pos] & 0x7F | data[pos + 1] << 7
                    pos += 2
                else:
                    size, pos = self.varint(pos, end)
                if size > end - pos:
                    raise self.error("a field reaches beyond its message", start)
                found.append((key >> 3, -1, pos, pos + size))
                pos += size
            elif kind == _VARINT:
                begin = pos
                value, pos = self.varint(pos, end)
                found.append((key >> 3, value, begin, pos))
            elif kind in (_FIXED32, _FIXED64):
                pos += 4 if kind == _FIXED32 else 8
                if pos > end:
                    raise self.error("a field reaches beyond its message", start)
            else:
                raise self.error(f"unknown wire type {kind}", start)
        return found

    def numbers(self, field: _Field) -> Iterator[int]:
        """Yield the numbers of a repeated field, packed or not."""
        _, value, pos, end = field
        if value >= 0:
            yield value
            return
        while pos < end:
            value, pos = self.varint(pos, end)
            yield value

    def raw(self, field: _Field) -> bytes:
        """Return the contents of a field that holds bytes."""
        if field[1] >= 0:
            raise self.error("a number stands where text belongs", field[2])
        return self.data[field[2] : field[3]]

    def text(self, field: _Field) -> str:
        """Return the contents of a string field."""
        try:
            return self.raw(field).decode()
        except UnicodeDecodeError as error:
            raise self.error("a string is not UTF-8", field[2]) from error

    def span(self, field: _Field) -> _Span:
        """Return where the message in a field lies."""
        if field[1] >= 0:
            raise self.error("a number stands where a message belongs", field[2])
        return field[2:]


# --- the tree -----------------------------------------------------------------------------------------------


_Part: TypeAlias = tuple[bytes, _Span]  # the rest of the literal of a node of the file, and where the node lies


class _WireNode(RadixNode):
    """A node that reads its children when they are first asked for.

    It stands for all of ``parts`` together: the file's literals differ in ``-`` and ``_``, which are one here.
    """

    __slots__ = ("_parts", "_wire")

    def __init__(self, token: Token | None, wire: _Wire, parts: list[_Part]) -> None:
        # RadixNode's slots stay empty, so that the first look at one of them comes to __getattr__.
        self.token = token
        self._wire = wire
        self._parts = parts

    def __getattr__(self, name: str) -> object:
        if name not in ("indices", "literals", "sets", "single", "star"):
            raise AttributeError(name)
        self._expand()
        return object.__getattribute__(self, name)

    def _expand(self) -> None:
        literals: dict[int, list[_Part]] = {}
        others: dict[Token, list[_Part]] = {}
        indices: set[int] = set()
        for rest, span in self._parts:
            if rest:
                literals.setdefault(rest[0], []).append((rest, span))
                continue
            for field in self._wire.fields(span):
                if field[0] == _CHILDREN:
                    child = self._wire.span(field)
                    token = _token(self._wire, child)
                    if isinstance(token, bytes) and token:
                        literals.setdefault(token[0], []).append((token, child))
                    else:
                        others.setdefault(token, []).append((b"", child))
                elif field[0] == _INDEX:
                    indices.update(self._wire.numbers(field))
        self.literals = {byte: _merged(self._wire, parts) for byte, parts in literals.items()}
        self.sets = {t: _WireNode(t, self._wire, p) for t, p in others.items() if isinstance(t, ByteSet)}
        self.single = _WireNode(ANY, self._wire, others[ANY]) if ANY in others else None
        self.star = _WireNode(STAR, self._wire, others[STAR]) if STAR in others else None
        self.indices = indices


def _merged(wire: _Wire, parts: list[_Part]) -> _WireNode:
    """Return one literal node for parts that begin with the same byte."""
    label = parts[0][0]
    for rest, _ in parts[1:]:
        while not rest.startswith(label):
            label = label[:-1]
    return _WireNode(label, wire, [(rest[len(label) :], span) for rest, span in parts])


def _token(wire: _Wire, span: _Span) -> Token:
    """Return what a node stands for, with ``-`` in a literal as ``_``."""
    kind = low = high = 0
    literal = b""
    for field in wire.fields(span):
        if field[0] == _TYPE:
            kind = field[1]
        elif field[0] == _LITERAL:
            literal = wire.text(field).encode()
        elif field[0] == _START:
            low = field[1]
        elif field[0] == _END:
            high = field[1]
    if kind == 0:
        if not literal or b"\0" in literal:
            raise wire.error("a literal node of the tree is empty or holds a NUL byte", span[0])
        return literal.replace(b"-", b"_")
    if kind == 1:
        return STAR
    if kind == 2:
        return ANY
    if kind == 3:
        if not 0 <= low <= high <= 0xFF:
            raise wire.error(f"byte range {low} to {high} of a tree node is none", span[0])
        return ByteSet(((low, high),))
    raise wire.error(f"unknown type {kind} of a tree node", span[0])


# --- the catalog --------------------------------------------------------------------------------------------


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

    __slots__ = ("_all", "_names", "_outside", "_read_modules", "_spans", "_tree", "_wire")
    _wire: _Wire
    _spans: list[_Span]
    _tree: list[_Part]
    _outside: list[int]
    _names: dict[str, int]
    _read_modules: dict[int, Module]
    _all: Catalog | None

    def __init__(self, data: bytes, *, source: str | None = None) -> None:
        set_slot = object.__setattr__  # the base is frozen
        set_slot(self, "_wire", _Wire(data, source))
        set_slot(self, "_indexes", {})
        set_slot(self, "_read_modules", {})
        set_slot(self, "_names", {})
        set_slot(self, "_all", None)
        spans: list[_Span] = []
        outside: list[int] = []
        tree: list[_Part] = []
        for field in self._wire.fields((0, len(data))):
            if field[0] == _META_MODULES:
                spans.append(self._wire.span(field))
            elif field[0] == _META_TREE:
                tree.append((b"", self._wire.span(field)))
            elif field[0] == _META_OUTSIDE:
                outside += self._wire.numbers(field)
        set_slot(self, "_spans", spans)
        set_slot(self, "_outside", outside)
        set_slot(self, "_tree", tree)

    def __eq__(self, other: object) -> bool:
        return self.modules == other.modules if isinstance(other, Catalog) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.complete())

    def __reduce__(self) -> tuple[object, ...]:
        return (WireCatalog, (self._wire.data,), None)

    @property
    def modules(self) -> tuple[Module, ...]:
        """All modules; decodes the whole file."""
        return self.complete().modules

    def complete(self) -> Catalog:
        """Return the catalog with everything decoded; raises MetadataError."""
        found = self._all
        if found is None:
            from kmodkit.meta.codec import decode  # protobuf, which most questions do without

            found = decode(self._wire.data, source=self._wire.source)
            object.__setattr__(self, "_all", found)
        return found

    @property
    def _positions(self) -> dict[str, int]:
        if not self._names and self._spans:
            # The later of two modules with one name is the one that counts.
            self._names.update((self._name(span), position) for position, span in enumerate(self._spans))
        return self._names

    def _name(self, span: _Span) -> str:
        data = self._wire.data
        start, end = span
        if end - start > 2 and data[start] == 0x0A and (stop := start + 2 + data[start + 1]) <= end:
            name = data[start + 2 : stop]  # nearly always: the name is the first field, and short
            # Another name further on would take its place.
            if data[start + 1] < 0x80 and name.isascii() and (stop == end or data[stop] != 0x0A):
                return normalize_name(name.decode())
        return normalize_name(self._field_text(span, _NAME))

    def _field_text(self, span: _Span, number: int) -> str:
        text = ""
        for field in self._wire.fields(span):
            if field[0] == number:
                text = self._wire.text(field)
        return text

    def _at(self, position: int) -> Module:
        module = self._read_modules.get(position)
        if module is None:
            module = self._read_modules[position] = self._read(position)
        return module

    def _read(self, position: int) -> Module:
        wire = self._wire
        path = ""
        depends: list[int] = []
        texts: dict[int, list[str]] = {}
        for field in wire.fields(self._spans[position]):
            if field[0] == _PATH:
                path = wire.text(field)
            elif field[0] == _DEPENDS:
                depends += wire.numbers(field)
            elif field[0] in _TEXT_FIELDS:
                texts.setdefault(field[0], []).append(to_text(wire.raw(field)))
        module = object.__new__(_WireModule)
        values = {
            "name": self._name(self._spans[position]),
            "path": path or None,
            "depends": _unique(texts.get(_DEPENDS_NAMES) or [self._name_at(index) for index in depends]),
            "softdeps": SoftDeps(_unique(texts.get(_SOFTDEP_PRE, ())), _unique(texts.get(_SOFTDEP_POST, ()))),
            "weakdeps": _unique(texts.get(_WEAKDEP, ())),
            "firmware": _unique(texts.get(_FIRMWARE, ())),
            "_catalog": self,
        }
        for name, value in values.items():
            object.__setattr__(module, name, value)
        return module

    def _name_at(self, position: int) -> str:
        if position >= len(self._spans):
            reason = f"module index {position} is out of range, there are {len(self._spans)} modules"
            raise MetadataError(reason, source=self._wire.source)
        return self._name(self._spans[position])

    def _index(self, *, builtin: bool) -> Index:
        index = self._indexes.get(builtin)
        if index is None:
            index = self._builtin_index() if builtin else self._file_index()
            self._indexes[builtin] = index
        return index

    def _file_index(self) -> Index:
        beside = RadixTree()
        for position in self._outside:
            self._name_at(position)
            for alias in self._verbatim(position):
                beside.add(Pattern.parse(alias).normalized(), position)
        root = _WireNode(None, self._wire, self._tree)
        return _WireTree(root, beside, lambda position: self._positions.get(self._name_at(position)) == position)

    def _builtin_index(self) -> Index:
        builtin = [at for at in self._positions.values() if not self._field_text(self._spans[at], _PATH)]
        return Matcher((normalized_text(alias), at) for at in builtin for alias in self._verbatim(at))

    def _verbatim(self, position: int) -> list[bytes]:
        fields = self._wire.fields(self._spans[position])
        return [self._wire.raw(field) for field in fields if field[0] == _ALIAS_VERBATIM]


class _WireTree:
    """The tree of the file, and ``beside`` it the patterns that the file could not put there."""

    def __init__(self, root: RadixNode, beside: RadixTree, counts: Callable[[int], bool]) -> None:
        self._tree = RadixTree()
        self._tree.root = root
        self._beside = beside
        self._counts = counts

    def lookup(self, text: bytes) -> tuple[int, ...]:
        found = self._tree.lookup(text) | self._beside.lookup(text)
        return tuple(sorted(filter(self._counts, found)))


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
