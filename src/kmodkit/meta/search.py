"""The modules that a device needs, out of the bytes of a meta.pb and with nothing else imported.

Decoding every node of a kernel's tree takes a second; the modules of one device are some hundred nodes away from
the root. So a node is read when a lookup reaches it, and kept. The fields are those of ``meta.proto``.

A lookup goes down the tree with the set of all places of the text that it can have reached, as the bits of one
number: what a node stands for moves them all at once, each node is visited at most once, and stars, however many,
cost no more than anything else.
"""

from __future__ import annotations

from kmodkit.core.names import normalize_name
from kmodkit.errors import MetadataError
from kmodkit.meta.fields import Wire

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeAlias

    from kmodkit.meta.fields import Span

    Literals: TypeAlias = dict[int, list[tuple[bytes, Span]]]  # by their first byte
    Node: TypeAlias = tuple[Literals, list[tuple[int, int, Span]], list[int]]  # literals, others, module indices

MAX_METADATA: Final = 256 << 20
"""How large a meta.pb may be, in bytes."""

# Field numbers of meta.proto.
MODULES: Final = 1
TREE: Final = 2
OUTSIDE: Final = 1000
NAME: Final = 1
PATH: Final = 2
ALIAS_VERBATIM: Final = 1005
_VERBATIM_TAG: Final = b"\xea\x3e"  # how a field of that number and of bytes begins
_TYPE: Final = 1
_LITERAL: Final = 2
_START: Final = 3
_END: Final = 4
_CHILDREN: Final = 5
_INDEX: Final = 6
# A child that is no literal is kept as the range of bytes that it takes, a star as an impossible one.
_FEW: Final = 8  # first bytes that are sooner tried one by one than compared with those of the text
_STAR: Final = (-1, -1)
_ANY: Final = (0, 0xFF)


class MetaFile:
    """The module names and the tree of a meta.pb in ``data``; ``source`` names the file in errors.

    Of two modules with one name the later counts, as for the format's first reader. Raises MetadataError, as all
    methods do for what they meet.
    """

    __slots__ = ("_nodes", "_outside_tree", "_positions", "_roots", "outside", "spans", "wire")

    def __init__(self, data: bytes, *, source: str | None = None) -> None:
        self.wire = Wire(data, source)
        self.spans: list[Span] = []
        self.outside: list[int] = []
        self._roots: list[Span] = []
        self._nodes: dict[Span, Node] = {}
        self._positions: dict[str, int] | None = None
        self._outside_tree: Callable[[bytes], set[int]] | None = None
        for field in self.wire.fields((0, len(data))):
            if field[0] == MODULES:
                self.spans.append(self.wire.span(field))
            elif field[0] == TREE:
                self._roots.append(self.wire.span(field))
            elif field[0] == OUTSIDE:
                self.outside += self.wire.numbers(field)

    @property
    def positions(self) -> dict[str, int]:
        """The place of each module in the file, by its name."""
        found = self._positions
        if found is None:
            found = {self._name(span): position for position, span in enumerate(self.spans)}
            self._positions = found
        return found

    def name(self, position: int) -> str:
        """Return the name of the module at ``position``."""
        if position >= len(self.spans):
            reason = f"module index {position} is out of range, there are {len(self.spans)} modules"
            raise MetadataError(reason, source=self.wire.source)
        return self._name(self.spans[position])

    def path(self, position: int) -> str | None:
        """Return the path of the module at ``position``, None for what is built in."""
        return self._text(self.spans[position], PATH) or None

    def verbatim(self, position: int) -> list[bytes]:
        """Return the aliases of a module that are not in the tree."""
        if self.wire.data.find(_VERBATIM_TAG, *self.spans[position]) < 0:
            return []  # as most modules have none; reading all of their fields took 15 ms
        fields = self.wire.fields(self.spans[position])
        return [self.wire.raw(field) for field in fields if field[0] == ALIAS_VERBATIM]

    def lookup(self, text: bytes) -> tuple[int, ...]:
        """Return the places of the modules with a pattern that matches ``text``, ascending, each once.

        ``text`` has ``_`` for ``-``; see `kmodkit.core.names.normalize_alias`.
        """
        found = self._walk(text)
        if self.outside:
            if self._outside_tree is None:
                self._outside_tree = self._read_outside()
            found |= self._outside_tree(text)
        if not found:
            return ()
        positions = self.positions
        return tuple(sorted([at for at in found if positions.get(self.name(at)) == at]))

    def _walk(self, text: bytes) -> set[int]:
        found: set[int] = set()
        size = len(text)
        full = (1 << (size + 1)) - 1
        masks: dict[int, int] = {}  # made when they are first needed
        stack = [(span, 1) for span in self._roots]
        while stack:
            span, state = stack.pop()
            if not state:
                continue
            literals, others, indices = self._nodes.get(span) or self._node(span)
            if state >> size:
                found.update(indices)
            if not masks and (others or state & (state - 1)):
                masks = _masks(text)
            if literals:
                at = (state & -state).bit_length() - 1
                if state & (state - 1):
                    # Several places at once: behind a star, every place of the text that is left.
                    few = len(literals) <= _FEW
                    for first in literals if few else literals.keys() & {*text[at:]}:
                        if state & masks.get(first, 0):
                            stack += [(child, _moved(literal, state, masks)) for literal, child in literals[first]]
                elif at < size:
                    stack += [
                        (child, state << len(literal))
                        for literal, child in literals.get(text[at], ())
                        if text.startswith(literal, at)
                    ]
            for low, high, child in others:
                if low < 0:
                    stack.append((child, full & -(state & -state)))
                else:
                    stack.append((child, (state & _range(low, high, masks)) << 1))
        return found

    def _node(self, span: Span) -> Node:
        """Read what the node at ``span`` leads to."""
        literals: Literals = {}
        others: list[tuple[int, int, Span]] = []
        indices: list[int] = []
        wire = self.wire
        for field in wire.fields(span):
            if field[0] == _CHILDREN:
                child = wire.span(field)
                token = _token(wire, child)
                if isinstance(token, bytes):
                    literals.setdefault(token[0], []).append((token, child))
                else:
                    others.append((*token, child))
            elif field[0] == _INDEX:
                indices += wire.numbers(field)
        node = self._nodes[span] = literals, others, indices
        return node

    def _read_outside(self) -> Callable[[bytes], set[int]]:
        """Return the lookup of the patterns that the file's tree could not hold."""
        from kmodkit.core.alias import Pattern  # real kernels have no such patterns
        from kmodkit.core.radix import RadixTree

        tree = RadixTree()
        for position in self.outside:
            self.name(position)
            for alias in self.verbatim(position):
                tree.add(Pattern.parse(alias).normalized(), position)
        return tree.lookup

    def _name(self, span: Span) -> str:
        data = self.wire.data
        start, end = span
        if end - start > 2 and data[start] == 0x0A and (stop := start + 2 + data[start + 1]) <= end:
            name = data[start + 2 : stop]  # nearly always: the name is the first field, and short
            # Another name further on would take its place.
            if data[start + 1] < 0x80 and name.isascii() and (stop == end or data[stop] != 0x0A):
                return normalize_name(name.decode())
        return normalize_name(self._text(span, NAME))

    def _text(self, span: Span, number: int) -> str:
        text = ""
        for field in self.wire.fields(span):
            if field[0] == number:
                text = self.wire.text(field)
        return text


def _masks(text: bytes) -> dict[int, int]:
    """Return for each byte of ``text`` the places that hold it."""
    masks: dict[int, int] = {}
    for at, byte in enumerate(text):
        masks[byte] = masks.get(byte, 0) | 1 << at
    return masks


def _moved(literal: bytes, state: int, masks: dict[int, int]) -> int:
    """Return the places behind ``literal`` where it stands at places of ``state``."""
    for byte in literal:
        state = (state & masks.get(byte, 0)) << 1
        if not state:
            break
    return state


def _range(low: int, high: int, masks: dict[int, int]) -> int:
    """Return the places that hold one of the bytes from ``low`` to ``high``."""
    found = 0
    for byte, mask in masks.items():
        if low <= byte <= high:
            found |= mask
    return found


def _token(wire: Wire, span: Span) -> bytes | tuple[int, int]:
    """Return what a node stands for: a literal, with ``-`` as ``_``, or a range of bytes."""
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
        return _STAR
    if kind == 2:
        return _ANY
    if kind == 3:
        if not 0 <= low <= high <= 0xFF:
            raise wire.error(f"byte range {low} to {high} of a tree node is none", span[0])
        return low, high
    raise wire.error(f"unknown type {kind} of a tree node", span[0])
