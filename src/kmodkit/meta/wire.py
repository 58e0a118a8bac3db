"""meta.pb without reading all of it: only the bytes that a question needs, straight from the wire format.

Decoding every node of a kernel's tree takes a second; the modules of one device are some hundred nodes away
from the root. So nodes are read when a lookup reaches them, and modules when one is asked for, and what was read
once is kept. The format is that of https://protobuf.dev/programming-guides/encoding/, the fields are those of
``meta.proto``. Nothing is trusted: what is wrong is a MetadataError with its offset, at the time it is met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kmodkit.core.alias import ANY, STAR, ByteSet, Pattern
from kmodkit.core.catalog import Catalog, Module
from kmodkit.core.modinfo import SoftDeps
from kmodkit.core.names import normalize_name, to_text
from kmodkit.core.radix import RadixNode, RadixTree
from kmodkit.errors import MetadataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kmodkit.core.alias import Token

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


class _Span(NamedTuple):
    """Where a message lies in the data."""

    start: int
    end: int


class _Field(NamedTuple):
    """One field: its number, the value of a number, and where its bytes are."""

    number: int
    value: int
    start: int
    end: int


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

    def fields(self, span: _Span) -> Iterator[_Field]:
        """Yield the fields of the message at ``span``."""
        data = self.data
        pos, end = span
        while pos < end:
            start = pos
            key = data[pos]
            pos += 1
            if key >= 0x80:
                key, pos = self.varint(start, end)
            kind = key & 7
            value = 0
            if kind == _BYTES:
                if pos < end and data[pos] < 0x80:
                    value = data[pos]
                    pos += 1
                else:
                    value, pos = self.varint(pos, end)
                if value > end - pos:
                    raise self.error("a field reaches beyond its message", start)
                begin, pos = pos, pos + value
            elif kind == _VARINT:
                begin = pos
                value, pos = self.varint(pos, end)
            elif kind in (_FIXED32, _FIXED64):
                begin, pos = pos, pos + (4 if kind == _FIXED32 else 8)
                if pos > end:
                    raise self.error("a field reaches beyond its message", start)
            else:
                raise self.error(f"unknown wire type {kind}", start)
            yield _Field(
                key >> 3 if kind in (_BYTES, _VARINT) else 0, value if kind == _VARINT else -1, begin, pos
            )

    def numbers(self, field: _Field) -> Iterator[int]:
        """Yield the numbers of a repeated field, packed or not."""
        if field.value >= 0:
            yield field.value
            return
        pos = field.start
        while pos < field.end:
            value, pos = self.varint(pos, field.end)
            yield value

    def raw(self, field: _Field) -> bytes:
        """Return the contents of a field that holds bytes."""
        if field.value >= 0:
            raise self.error("a number stands where text belongs", field.start)
        return self.data[field.start : field.end]

    def text(self, field: _Field) -> str:
        """Return the contents of a string field."""
        try:
            return self.raw(field).decode()
        except UnicodeDecodeError as error:
            raise self.error("a string is not UTF-8", field.start) from error

    def span(self, field: _Field) -> _Span:
        """Return where the message in a field lies."""
        if field.value >= 0:
            raise self.error("a number stands where a message belongs", field.start)
        return _Span(field.start, field.end)


# --- the tree -----------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A node of the file whose literal has been followed up to ``rest``."""

    rest: bytes
    span: _Span


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
                literals.setdefault(rest[0], []).append(_Part(rest, span))
                continue
            for field in self._wire.fields(span):
                if field.number == _CHILDREN:
                    child = self._wire.span(field)
                    token = _token(self._wire, child)
                    if isinstance(token, bytes) and token:
                        literals.setdefault(token[0], []).append(_Part(token, child))
                    else:
                        others.setdefault(token, []).append(_Part(b"", child))
                elif field.number == _INDEX:
                    indices.update(self._wire.numbers(field))
        self.literals = {byte: _merged(self._wire, parts) for byte, parts in literals.items()}
        self.sets = {t: _WireNode(t, self._wire, p) for t, p in others.items() if isinstance(t, ByteSet)}
        self.single = _WireNode(ANY, self._wire, others[ANY]) if ANY in others else None
        self.star = _WireNode(STAR, self._wire, others[STAR]) if STAR in others else None
        self.indices = indices


def _merged(wire: _Wire, parts: list[_Part]) -> _WireNode:
    """Return one literal node for parts that begin with the same byte."""
    label = parts[0].rest
    for rest, _ in parts[1:]:
        while not rest.startswith(label):
            label = label[:-1]
    return _WireNode(label, wire, [_Part(rest[len(label) :], span) for rest, span in parts])


def _token(wire: _Wire, span: _Span) -> Token:
    """Return what a node stands for, with ``-`` in a literal as ``_``."""
    kind = low = high = 0
    literal = b""
    for field in wire.fields(span):
        if field.number == _TYPE:
            kind = field.value
        elif field.number == _LITERAL:
            literal = wire.text(field).encode()
        elif field.number == _START:
            low = field.value
        elif field.number == _END:
            high = field.value
    if kind == 0:
        if not literal or b"\0" in literal:
            raise wire.error("a literal node of the tree is empty or holds a NUL byte", span.start)
        return literal.replace(b"-", b"_")
    if kind == 1:
        return STAR
    if kind == 2:
        return ANY
    if kind == 3:
        if not 0 <= low <= high <= 0xFF:
            raise wire.error(f"byte range {low} to {high} of a tree node is none", span.start)
        return ByteSet(((low, high),))
    raise wire.error(f"unknown type {kind} of a tree node", span.start)


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
        for field in self._wire.fields(_Span(0, len(data))):
            if field.number == _META_MODULES:
                spans.append(self._wire.span(field))
            elif field.number == _META_TREE:
                tree.append(_Part(b"", self._wire.span(field)))
            elif field.number == _META_OUTSIDE:
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
            if field.number == number:
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
            if field.number == _PATH:
                path = wire.text(field)
            elif field.number == _DEPENDS:
                depends += wire.numbers(field)
            elif field.number in _TEXT_FIELDS:
                texts.setdefault(field.number, []).append(to_text(wire.raw(field)))
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

    def _index(self, *, builtin: bool) -> RadixTree:
        tree = self._indexes.get(builtin)
        if tree is None:
            tree = self._builtin_index() if builtin else self._file_index()
            self._indexes[builtin] = tree
        return tree

    def _file_index(self) -> RadixTree:
        beside = RadixTree()
        for position in self._outside:
            self._name_at(position)
            for alias in self._verbatim(position):
                beside.add(Pattern.parse(alias).normalized(), position)
        root = _WireNode(None, self._wire, self._tree)
        return _WireTree(root, beside, lambda position: self._positions.get(self._name_at(position)) == position)

    def _builtin_index(self) -> RadixTree:
        tree = RadixTree()
        for name, position in self._positions.items():
            if not self._field_text(self._spans[position], _PATH):
                for alias in self._verbatim(position):
                    tree.add(Pattern.parse(alias).normalized(), self._positions[name])
        return tree

    def _verbatim(self, position: int) -> list[bytes]:
        fields = self._wire.fields(self._spans[position])
        return [self._wire.raw(field) for field in fields if field.number == _ALIAS_VERBATIM]


class _WireTree(RadixTree):
    """The tree of the file, and ``beside`` it the patterns that the file could not put there."""

    def __init__(self, root: RadixNode, beside: RadixTree, counts: Callable[[int], bool]) -> None:
        self.root = root
        self._beside = beside
        self._counts = counts

    def lookup(self, text: str | bytes) -> set[int]:
        return set(filter(self._counts, super().lookup(text) | self._beside.lookup(text)))


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))
