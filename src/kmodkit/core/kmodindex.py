r"""depmod's binary indexes: ``modules.dep.bin``, ``modules.alias.bin`` and their kin.

All five hold one kind of thing, a map from keys to values that are sorted by a number, as a trie whose chains of
single children are folded into one node. The grammar, with every number big-endian::

    file     = magic version root node*
    magic    = B0 07 F4 57
    version  = u16 major (2), u16 minor (1)
    root     = pointer
    pointer  = u32: the top four bits say what the node has, the others where it is in the file; 0 is no node
    node     = [prefix] [children] [values]         in this order, each only if its bit is set
    prefix   = byte+ 00                             bit 31: the rest of the label behind its first byte
    children = u8 first, u8 last, pointer{last-first+1}     bit 29: the child for each first byte of a label
    values   = u32 count, (u32 priority, byte* 00){count}   bit 30: ascending by priority

A key is spelled by the bytes that select children, each followed by the prefix of the child. With the keys
``on``, ``once`` and ``one``, each with a value, the root has one child, for ``o``, and no prefix; that child has
the prefix ``n``, the values of ``on``, and children ``c`` (prefix ``e``) and ``e``, between which there is a
pointer 0 for ``d``::

    root ─o─> "n" on ─┬─c─> "e" once
                      └─e─> one

The root never has a prefix. depmod before kmod 34 writes children before their parents, and the root last; since
34 parents come first. Both are read by the same code, and both are written (`kmodkit.core.kmodwrite`).

The keys of modules.alias.bin are alias patterns. A lookup (`IndexFile.matches`) goes down literal bytes until the
first ``*``, ``?`` or ``[`` and from there on takes what is below for the rest of a pattern, as libkmod does.

A valid file has no byte in two nodes. So no walk reads more bytes than the file has, which bounds every walk of a
file that is made up, with pointers in circles or a thousand to one node.
"""

from __future__ import annotations

from struct import Struct, error

from kmodkit.errors import KmodIndexError, PatternError

TYPE_CHECKING = False  # as in `kmodkit.errors`
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final, Protocol, TypeAlias

    class Buffer(Protocol):
        """The bytes of a file: ``bytes``, or a map of it."""

        def __len__(self) -> int: ...
        def __getitem__(self, key: slice, /) -> bytes: ...
        def __buffer__(self, flags: int, /) -> memoryview: ...
        def find(self, sub: bytes, start: int = ..., /) -> int: ...  # noqa: D102

    # A node's prefix, its first child, its children, where its values are (0 for none), its size without those.
    Node: TypeAlias = tuple[bytes, int, tuple[int, ...], int, int]

    Value: TypeAlias = tuple[int, bytes]
    """The priority of a value, of which the lowest comes first, and what it is."""

MAGIC: Final = 0xB007F457
VERSION: Final = 0x00020001
MAX_KEY: Final = 4096
"""libkmod takes no longer names, and no alias of a kernel is over 300 bytes."""

PREFIX: Final = 0x80000000
VALUES: Final = 0x40000000
CHILDREN: Final = 0x20000000
OFFSET: Final = 0x0FFFFFFF
HEADER: Final = Struct(">III")
_SPECIAL: Final = (0x2A, 0x3F, 0x5B)  # * ? [, in the order in which libkmod tries them
_NAMES: Final = b"*?["
_HARD: Final = frozenset(b"[\\")


class IndexFile:
    """A binary index over ``data``; ``source`` names it in errors.

    Raises KmodIndexError where the header is none, and its methods raise it, with the offset, where they meet
    nodes that cannot be.

    >>> from kmodkit.core.kmodwrite import build_index
    >>> index = IndexFile(build_index([(b"pci:v8086d*", b"e1000", 1), (b"fuse", b"fuse", 2)]))
    >>> index.matches(b"pci:v8086d1234")
    [(1, b'e1000')]
    >>> index.get(b"fuse"), index.get(b"fu")
    ([(2, b'fuse')], [])
    """

    __slots__ = ("_data", "_root", "_size", "source")

    def __init__(self, data: Buffer, *, source: str | None = None) -> None:
        self._data = data
        self._size = len(data)
        self.source = source
        if self._size < HEADER.size:
            raise self._error("too short to be an index", self._size)
        magic, version, self._root = HEADER.unpack(data[: HEADER.size])
        if magic != MAGIC:
            raise self._error("not an index of depmod", 0)
        if version >> 16 != VERSION >> 16:
            raise self._error(f"version {version >> 16} of the format, not {VERSION >> 16}", 4)

    @classmethod
    def empty(cls) -> IndexFile:
        """Return an index without entries."""
        return cls(HEADER.pack(MAGIC, VERSION, 0))

    def get(self, key: bytes) -> list[Value]:
        """Return the values of exactly ``key``."""
        budget = _Budget(self)
        pointer = self._root
        pos = 0
        while pointer:
            node = self._node(pointer, budget)
            prefix = node[0]
            if not key.startswith(prefix, pos):
                break
            pos += len(prefix)
            if pos == len(key):
                return self._values(node, budget)
            pointer = _child(node, key[pos])
            pos += 1
        return []

    def matches(self, text: bytes) -> list[Value]:
        """Return the values of every key that is a pattern for ``text``, in libkmod's order.

        ``text`` is taken as it is; see `kmodkit.core.names.normalize_alias`. A value comes once for each of its
        keys that match. Of values with one priority, the one found last comes first.
        """
        search = _Search(self, text)
        budget = search.budget
        pointer = self._root
        pos = 0
        while pointer:
            node = self._node(pointer, budget)
            prefix, _, children, _, _ = node
            if not text.startswith(prefix, pos) or b"*" in prefix or b"?" in prefix or b"[" in prefix:
                search.prefix(node, pos)
                break
            pos += len(prefix)
            if children:
                for byte in _SPECIAL:
                    below = _child(node, byte)
                    if below:
                        search.below(below, pos, bytes((byte,)))
            if pos == len(text):
                search.found += self._values(node, budget)
                break
            pointer = _child(node, text[pos])
            pos += 1
        search.found.reverse()
        return sorted(search.found, key=_priority)

    def items(self) -> Iterator[tuple[bytes, Value]]:
        """Yield every key with each of its values, ascending."""
        budget = _Budget(self)
        stack = [(self._root, b"")]
        while stack:
            pointer, key = stack.pop()
            if not pointer:
                continue
            node = self._node(pointer, budget)
            prefix, first, children, _, _ = node
            key += prefix
            if len(key) > MAX_KEY:
                raise self._error(f"a key of more than {MAX_KEY} bytes", pointer & OFFSET)
            for value in self._values(node, budget):
                yield key, value
            stack += [
                (child, key + bytes((byte,)))
                for byte, child in enumerate(children, first)
                if child
            ][::-1]  # fmt: skip

    def _node(self, pointer: int, budget: _Budget) -> Node:
        data = self._data
        start = at = pointer & OFFSET
        prefix = b""
        if pointer & PREFIX:
            end = data.find(b"\0", at)
            if end < 0:
                raise self._error("a node's prefix does not end", at)
            budget.spend(end - at, at)
            prefix = data[at:end]
            at = end + 1
        first = 0
        children: tuple[int, ...] = ()
        if pointer & CHILDREN:
            ends = data[at : at + 2]
            if len(ends) < 2 or ends[1] < ends[0]:
                raise self._error("a node's range of children is impossible", at)
            first = ends[0]
            count = ends[1] - first + 1
            children = self._numbers(count, at + 2)
            at += 2 + 4 * count
        size = at - start
        if at > self._size:
            raise self._error("a node lies outside of the file", start)
        budget.spend(size + 1, start)
        return prefix, first, children, at if pointer & VALUES else 0, size

    def _numbers(self, count: int, at: int) -> tuple[int, ...]:
        try:
            numbers: tuple[int, ...] = table_struct(count).unpack(self._data[at : at + 4 * count])
        except error:
            raise self._error("a node lies outside of the file", at) from None
        return numbers

    def _values(self, node: Node, budget: _Budget) -> list[Value]:
        at = node[3]
        if not at:
            return []
        data = self._data
        (count,) = self._numbers(1, at)
        start = at
        at += 4
        # Each takes five bytes at least, so a huge count is refused before anything is made for it.
        if count > (self._size - at) // 5:
            raise self._error(f"{count} values lie outside of the file", start)
        found = []
        for _ in range(count):
            end = data.find(b"\0", at + 4)
            if end < 0:
                raise self._error("a value does not end", at)
            budget.spend(end - at, at)
            found.append((int.from_bytes(data[at : at + 4], "big"), data[at + 4 : end]))
            at = end + 1
        return found

    def _error(self, reason: str, offset: int) -> KmodIndexError:
        return KmodIndexError(reason, offset=offset, source=self.source)


class _Budget:
    """The bytes that a walk may still read."""

    __slots__ = ("index", "left")

    def __init__(self, index: IndexFile) -> None:
        self.index = index
        # A node without a prefix and children takes nothing but its values; one byte is counted for it, which is
        # less than a value takes. Prefixes are counted twice.
        self.left = 2 * len(index._data) + 64  # noqa: SLF001 - the two are one thing

    def spend(self, size: int, at: int) -> None:
        self.left -= size
        if self.left < 0:
            raise self.index._error("nodes overlap", at)  # noqa: SLF001


class _Search:
    """Patterns below a place of the trie against what is left of a text.

    What a pattern can have matched so far is a set of offsets into the text, kept as the bits of an integer: so a
    byte of a pattern costs a few operations on one number, once for all the patterns that share it, and none is
    exponential.
    """

    __slots__ = ("_full", "_masks", "_spelled", "budget", "found", "index", "text")

    def __init__(self, index: IndexFile, text: bytes) -> None:
        self.index = index
        self.text = text
        self.budget = _Budget(index)
        self.found: list[Value] = []
        self._full = (1 << (len(text) + 1)) - 1
        self._masks: dict[int, int] = {}
        self._spelled = 0

    def prefix(self, node: Node, pos: int) -> None:
        """Search from the first wildcard of the node's prefix on, if what stands before it is in the text."""
        prefix = node[0]
        start = min(found for byte in (b"*", b"?", b"[", b"") if (found := _find(prefix, byte)) >= 0)
        if start < len(prefix) and self.text.startswith(prefix[:start], pos):
            self._walk([(node, prefix[start:], 1 << (pos + start), None)])

    def below(self, pointer: int, pos: int, label: bytes) -> None:
        """Search the node at ``pointer``, whose label begins with the wildcard ``label``."""
        node = self.index._node(pointer, self.budget)  # noqa: SLF001
        self._walk([(node, label + node[0], 1 << pos, None)])

    def _walk(self, stack: list[tuple[Node | None, bytes, int, bytes | None]]) -> None:
        """Follow all patterns below.

        An entry of ``stack`` is a node, the label to go over before it, the offsets reached, and the text of a
        pattern since a ``[`` or backslash, whose meaning may be known only at its end. A node that was left for
        its children comes again, as one without children, for its values.
        """
        index, budget = self.index, self.budget
        while stack:
            node, label, state, spelled = stack.pop()
            if node is None:
                continue
            if spelled is None:
                state, rest = self._go(label, state)
                if not state:
                    continue
                spelled = rest or None
            else:
                spelled += label
            prefix, first, children, values, size = node
            if values and not children:
                self._end(node, state, spelled)
            elif values:
                # libkmod takes the values of a node behind those of its children.
                stack.append(((prefix, 0, (), values, size), b"", state, spelled))
            for byte, pointer in zip(
                range(first + len(children) - 1, first - 1, -1),
                reversed(children),
                strict=True,
            ):
                if pointer and (spelled is not None or self._may_follow(byte, state)):
                    child = index._node(pointer, budget)  # noqa: SLF001
                    stack.append((child, bytes((byte,)) + child[0], state, spelled))

    def _may_follow(self, byte: int, state: int) -> bool:
        return byte in b"*?[\\" or bool(self._mask(byte) & state)

    def _go(self, label: bytes, state: int) -> tuple[int, bytes]:
        """Return the offsets reached behind ``label``, and its rest from a ``[`` or backslash on."""
        for at, byte in enumerate(label):
            if byte in _HARD:
                return state, label[at:]
            if byte == 0x2A:
                state = self._full & -(state & -state)
            elif byte == 0x3F:
                state = state << 1 & self._full
            else:
                state = (state & self._mask(byte)) << 1
            if not state:
                break
        return state, b""

    def _end(self, node: Node, state: int, spelled: bytes | None) -> None:
        """Take the node's values where the pattern that ends there has matched the whole text."""
        if spelled is not None:
            self._spelled += len(spelled)
            if self._spelled > 16 * len(self.index._data):  # noqa: SLF001
                raise self.index._error("too many patterns with brackets", node[3])  # noqa: SLF001
            from kmodkit.core.alias import Pattern  # for the few patterns with brackets

            try:
                tokens = Pattern.parse(spelled).tokens
            except PatternError:
                return
            for token in tokens:
                state = self._token(token, state)
        if state >> len(self.text) & 1:
            self.found += self.index._values(node, self.budget)  # noqa: SLF001

    def _token(self, token: object, state: int) -> int:
        if not state:
            return 0
        from kmodkit.core.alias import ANY, STAR, ByteSet

        if token is STAR:
            return self._full & -(state & -state)
        if token is ANY:
            return state << 1 & self._full
        if isinstance(token, ByteSet):
            mask = 0
            for byte in token:
                mask |= self._mask(byte)
            return (state & mask) << 1
        assert isinstance(token, bytes)  # noqa: S101 - the only other kind there is
        for byte in token:
            state = (state & self._mask(byte)) << 1
        return state

    def _mask(self, byte: int) -> int:
        """Return the offsets of the text that hold ``byte``."""
        mask = self._masks.get(byte)
        if mask is None:
            mask = sum(1 << at for at, found in enumerate(self.text) if found == byte)
            self._masks[byte] = mask
        return mask


def _find(prefix: bytes, byte: bytes) -> int:
    return prefix.find(byte) if byte else len(prefix)


def _child(node: Node, byte: int) -> int:
    _, first, children, _, _ = node
    at = byte - first
    return children[at] if 0 <= at < len(children) else 0


def _priority(value: Value) -> int:
    return value[0]


def table_struct(count: int) -> Struct:
    """Return the layout of ``count`` numbers."""
    table = _TABLES.get(count)
    if table is None:
        table = _TABLES[count] = Struct(f">{count}I")
    return table


_TABLES: Final[dict[int, Struct]] = {}
